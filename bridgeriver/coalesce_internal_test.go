package bridgeriver

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestLooksWhereItIsWorthIt(t *testing.T) {
	t.Parallel()
	var c coalescer
	looks := func() (n int) {
		for range 10 * oneOf {
			if c.looks() {
				n++
			}
		}
		return n
	}
	assert.Equal(t, 10*oneOf, looks())
	c.fruitless.Store(patience)
	assert.Equal(t, 10, looks(), "after many that found nothing")
	c.fruitless.Store(0)
	assert.Equal(t, 10*oneOf, looks(), "and after one that did not")
}
