package bridgeotel

import (
	"net/http"
	"strings"

	"github.com/clerkknock/bridge/actions"
)

// route is one of Knock's paths, and the tier of the rate limit of its writes.
// The tiers 1 to 5 are 1, 5, 60, 200 and 1000 requests a second for each endpoint.
type route struct {
	path   string // what is in braces stands for any one segment
	tier   int
	remove int // of DELETE, where it differs
}

// tierRead is the tier of every GET.
const tierRead = 4

// routes are Knock's paths. Of several that match, the first counts.
//
//nolint:gochecknoglobals // a constant in all but name
var routes = []route{
	{path: "/v1/users/{user_id}", tier: 3, remove: 2},
	{path: "/v1/workflows/{key}/trigger", tier: 5},
	{path: "/v1/workflows/{key}/cancel", tier: 5},
	{path: "/v1/tenants/{id}", tier: 3, remove: 2},
	{path: "/v1/objects/{collection}/{object_id}/subscriptions", tier: 3},
	{path: "/v1/objects/{collection}/{object_id}/channel_data/{channel_id}", tier: 3},
	{path: "/v1/objects/{collection}/{object_id}/preferences/{id}", tier: 3},
	{path: "/v1/objects/{collection}/bulk/subscriptions/{operation}", tier: 1},
	{path: "/v1/objects/{collection}/bulk/{operation}", tier: 1},
	{path: "/v1/objects/{collection}/{id}", tier: 3},
	{path: "/v1/objects/{collection}", tier: 3},
	{path: "/v1/users/{user_id}/merge", tier: 2},
	{path: "/v1/users/{user_id}/subscriptions", tier: 3},
	{path: "/v1/users/{user_id}/channel_data/{channel_id}", tier: 3},
	{path: "/v1/users/{user_id}/preferences/{id}", tier: 3},
	{path: "/v1/users/bulk/{operation}", tier: 1},
	{path: "/v1/users", tier: 3},
	{path: "/v1/tenants/bulk/{operation}", tier: 1},
	{path: "/v1/tenants", tier: 3},
	{path: "/v1/audiences/{key}/members", tier: 3},
	{path: "/v1/schedules/bulk/{operation}", tier: 1},
	{path: "/v1/schedules", tier: 3},
	{path: "/v1/bulk_operations/{id}", tier: 3},
}

// routeOf returns the template of a request's path, so that no id gets into a
// name or a metric, and its tier. Both are zero when the path is not Knock's.
func routeOf(r *actions.Request) (template string, tier int) {
	path, _, _ := strings.Cut(r.Path, "?")
	for _, known := range routes {
		if !matches(path, known.path) {
			continue
		}
		switch {
		case r.Method == http.MethodGet:
			return known.path, tierRead
		case r.Method == http.MethodDelete && known.remove != 0:
			return known.path, known.remove
		}
		return known.path, known.tier
	}
	return "", 0
}

func matches(path, template string) bool {
	for {
		segment, rest, more := strings.Cut(path, "/")
		want, wanted, wantMore := strings.Cut(template, "/")
		if segment != want && (segment == "" || !strings.HasPrefix(want, "{")) || more != wantMore {
			return false
		}
		if !more {
			return true
		}
		path, template = rest, wanted
	}
}
