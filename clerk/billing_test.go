package clerk_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/clerkknock/bridge/clerk"
)

func TestSubscription(t *testing.T) {
	t.Parallel()
	s := sample(t, clerk.SubscriptionPastDue).Data
	assert.Equal(t, "past_due", s.Status)
	assert.Equal(t, clerk.Value(clerk.Millis(1767225600001)), s.PastDueAt)
	assert.True(t, s.CanceledAt.IsNull())
	payer, ok := s.Payer.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Value("org_sample_1"), payer.OrganizationID)
	assert.True(t, payer.UserID.IsNull())
	require.Len(t, s.Items, 2)
	assert.True(t, s.Items[0].Payer.IsAbsent())
	assert.True(t, s.Items[0].SubscriptionID.IsAbsent())
	assert.True(t, s.Items[1].Plan.IsNull())
	assert.True(t, s.Items[1].SubscriptionID.IsNull())
}

func TestSubscriptionItemGenerations(t *testing.T) {
	t.Parallel()
	i := sample(t, clerk.SubscriptionItemActive).Data
	assert.Equal(t, "month", i.Period())
	assert.True(t, i.PlanPeriod.IsAbsent())
	assert.True(t, i.PeriodEnd.IsNull())
	plan, ok := i.Plan.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Value(int64(2000)), plan.Amount)
	assert.Equal(t, "USD", plan.Currency)
	require.Len(t, plan.UnitPrices, 1)
	assert.Equal(t, int64(500), plan.UnitPrices[0].Tiers[0].AmountPerBlock)
	assert.True(t, plan.UnitPrices[0].Tiers[0].EndsAfterBlock.IsNull())
	seats, ok := i.Seats.Get()
	require.True(t, ok)
	assert.True(t, seats.Quantity.IsNull())
	paid, ok := i.LifetimePaid.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Money{Amount: 4000, AmountFormatted: "$40.00", Currency: "USD", CurrencySymbol: "$"}, paid)
	payer, _ := i.Payer.Get()
	assert.Equal(t, clerk.Value(""), payer.OrganizationID)

	p := sample(t, clerk.PaymentAttemptUpdated).Data
	require.Len(t, p.SubscriptionItems, 2)
	old, current := p.SubscriptionItems[0], p.SubscriptionItems[1]
	assert.Equal(t, "month", old.Period())
	assert.True(t, old.Interval.IsAbsent())
	assert.Equal(t, clerk.Value(clerk.Money{Amount: 10000}), old.LifetimePaid, "a plain number")
	assert.Equal(t, clerk.Value(clerk.Money{Amount: 2000}), old.NextPaymentAmount)
	oldPlan, ok := old.Plan.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Interval("1"), oldPlan.Interval, "a number")
	assert.Equal(t, "month", oldPlan.Period)
	assert.Equal(t, clerk.Value(int64(1800)), oldPlan.AnnualMonthlyAmount)
	credits, ok := old.Credits.Get()
	require.True(t, ok)
	total, _ := credits.Total.Get()
	assert.Equal(t, int64(500), total.Amount)
	proration, _ := credits.Proration.Get()
	assert.InDelta(t, 0.5, proration.CycleRemainingPercent, 0)
	assert.Equal(t, "month", current.Period())
	assert.Equal(t, clerk.Value(clerk.Interval("month")), current.Interval)

	number := decodeData[clerk.SubscriptionItem](t, `{"interval":1,"plan":{"interval":"month"}}`)
	assert.Equal(t, clerk.Value(clerk.Interval("1")), number.Interval)
	none := decodeData[clerk.SubscriptionItem](t, `{"interval":null,"plan_period":null,"plan":{"interval":null}}`)
	assert.Empty(t, none.Period())
}

func TestPaymentAttempt(t *testing.T) {
	t.Parallel()
	p := sample(t, clerk.PaymentAttemptUpdated).Data
	assert.Equal(t, "failed", p.Status)
	assert.True(t, p.PaidAt.IsNull())
	reason, ok := p.FailedReason.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.FailedReason{Code: "card_declined", DeclineCode: clerk.Value("insufficient_funds")}, reason)
	totals, ok := p.Totals.Get()
	require.True(t, ok)
	total, _ := totals.GrandTotal.Get()
	assert.Equal(t, clerk.Money{Amount: 2200, AmountFormatted: "$22.00", Currency: "USD", CurrencySymbol: "$"}, total)
	source, ok := p.PaymentSource.Get()
	require.True(t, ok)
	assert.Equal(t, clerk.Value("4242"), source.Last4)
	payee, ok := p.Payee.Get()
	require.True(t, ok)
	assert.Equal(t, "stripe", payee.GatewayType)
}
