package bridgetest

import (
	"net/http"
	"net/url"
	"strings"
)

// route is one operation: its method and path, its rate limit tier, and
// whether it takes a JSON body.
type route struct {
	method   string
	segments []string // a parameter is empty
	tier     int
	body     bool
	run      func(*Knock, *request) (reply, error)
}

const (
	noBody   = false
	withBody = true
)

// newRoutes returns the table of operations. The first that matches counts, so
// fixed names stand before parameters.
func newRoutes() []*route {
	var routes []*route
	add := func(method, path string, tier int, body bool, run func(*Knock, *request) (reply, error)) {
		segments := split(path)
		for i, s := range segments {
			if strings.HasPrefix(s, "{") {
				segments[i] = ""
			}
		}
		routes = append(routes, &route{method, segments, tier, body, run})
	}

	add(http.MethodPost, "/v1/workflows/{key}/trigger", 5, withBody, (*Knock).triggerWorkflow)
	add(http.MethodPost, "/v1/workflows/{key}/cancel", 5, withBody, (*Knock).cancelWorkflow)

	add(http.MethodPost, "/v1/users/bulk/identify", 1, withBody, (*Knock).bulkIdentifyUsers)
	add(http.MethodPost, "/v1/users/bulk/delete", 1, withBody, (*Knock).bulkDeleteUsers)
	add(http.MethodPost, "/v1/users/bulk/preferences", 1, withBody, (*Knock).bulkSetPreferences)
	add(http.MethodGet, "/v1/users", 4, noBody, (*Knock).listUsers)
	add(http.MethodGet, "/v1/users/{id}", 4, noBody, (*Knock).getUser)
	add(http.MethodPut, "/v1/users/{id}", 3, withBody, (*Knock).identifyUser)
	add(http.MethodDelete, "/v1/users/{id}", 2, noBody, (*Knock).deleteUser)
	add(http.MethodPost, "/v1/users/{id}/merge", 2, withBody, (*Knock).mergeUser)
	add(http.MethodGet, "/v1/users/{id}/subscriptions", 4, noBody, (*Knock).listUserSubscriptions)
	add(http.MethodGet, "/v1/users/{id}/channel_data/{channel}", 4, noBody, (*Knock).getChannelData)
	add(http.MethodPut, "/v1/users/{id}/channel_data/{channel}", 3, withBody, (*Knock).setChannelData)
	add(http.MethodDelete, "/v1/users/{id}/channel_data/{channel}", 3, noBody, (*Knock).unsetChannelData)
	add(http.MethodGet, "/v1/users/{id}/preferences/{set}", 4, noBody, (*Knock).getPreferences)
	add(http.MethodPut, "/v1/users/{id}/preferences/{set}", 3, withBody, (*Knock).setPreferences)
	add(http.MethodDelete, "/v1/users/{id}/preferences/{set}", 3, noBody, (*Knock).unsetPreferences)

	add(http.MethodPost, "/v1/objects/{collection}/bulk/set", 1, withBody, (*Knock).bulkSetObjects)
	add(http.MethodPost, "/v1/objects/{collection}/bulk/delete", 1, withBody, (*Knock).bulkDeleteObjects)
	add(http.MethodPost, "/v1/objects/{collection}/bulk/subscriptions/add", 1, withBody, (*Knock).bulkSubscribe)
	add(http.MethodPost, "/v1/objects/{collection}/bulk/subscriptions/delete", 1, withBody, (*Knock).bulkUnsubscribe)
	add(http.MethodGet, "/v1/objects/{collection}", 4, noBody, (*Knock).listObjects)
	add(http.MethodGet, "/v1/objects/{collection}/{id}", 4, noBody, (*Knock).getObject)
	add(http.MethodPut, "/v1/objects/{collection}/{id}", 3, withBody, (*Knock).setObject)
	add(http.MethodDelete, "/v1/objects/{collection}/{id}", 3, noBody, (*Knock).deleteObject)
	add(http.MethodGet, "/v1/objects/{collection}/{id}/subscriptions", 4, noBody, (*Knock).listObjectSubscriptions)
	add(http.MethodPost, "/v1/objects/{collection}/{id}/subscriptions", 3, withBody, (*Knock).subscribe)
	add(http.MethodDelete, "/v1/objects/{collection}/{id}/subscriptions", 3, withBody, (*Knock).unsubscribe)
	add(http.MethodGet, "/v1/objects/{collection}/{id}/channel_data/{channel}", 4, noBody, (*Knock).getChannelData)
	add(http.MethodPut, "/v1/objects/{collection}/{id}/channel_data/{channel}", 3, withBody, (*Knock).setChannelData)
	add(http.MethodDelete, "/v1/objects/{collection}/{id}/channel_data/{channel}", 3, noBody, (*Knock).unsetChannelData)
	add(http.MethodGet, "/v1/objects/{collection}/{id}/preferences/{set}", 4, noBody, (*Knock).getPreferences)
	add(http.MethodPut, "/v1/objects/{collection}/{id}/preferences/{set}", 3, withBody, (*Knock).setPreferences)
	add(http.MethodDelete, "/v1/objects/{collection}/{id}/preferences/{set}", 3, noBody, (*Knock).unsetPreferences)

	add(http.MethodPost, "/v1/tenants/bulk/set", 1, withBody, (*Knock).bulkSetTenants)
	add(http.MethodPost, "/v1/tenants/bulk/delete", 1, noBody, (*Knock).bulkDeleteTenants)
	add(http.MethodGet, "/v1/tenants", 4, noBody, (*Knock).listTenants)
	add(http.MethodGet, "/v1/tenants/{id}", 4, noBody, (*Knock).getTenant)
	add(http.MethodPut, "/v1/tenants/{id}", 3, withBody, (*Knock).setTenant)
	add(http.MethodDelete, "/v1/tenants/{id}", 2, noBody, (*Knock).deleteTenant)

	add(http.MethodGet, "/v1/audiences/{key}/members", 4, noBody, (*Knock).listMembers)
	add(http.MethodPost, "/v1/audiences/{key}/members", 3, withBody, (*Knock).addMembers)
	add(http.MethodDelete, "/v1/audiences/{key}/members", 3, withBody, (*Knock).removeMembers)

	add(http.MethodPost, "/v1/schedules/bulk/create", 1, withBody, (*Knock).bulkCreateSchedules)
	add(http.MethodGet, "/v1/schedules", 4, noBody, (*Knock).listSchedules)
	add(http.MethodPost, "/v1/schedules", 3, withBody, (*Knock).createSchedules)
	add(http.MethodPut, "/v1/schedules", 3, withBody, (*Knock).updateSchedules)
	add(http.MethodDelete, "/v1/schedules", 3, withBody, (*Knock).deleteSchedules)

	add(http.MethodGet, "/v1/bulk_operations/{id}", 4, noBody, (*Knock).getBulkOperation)

	return routes
}

// match finds the operation of a path as it was sent. Segments are decoded one
// by one, after the split, so that an escaped slash stays within its segment.
func (k *Knock) match(method, path string) (rt *route, params []string) {
	segments := split(path)
	for i, s := range segments {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return nil, nil
		}
		segments[i] = decoded
	}
	for _, rt := range k.routes {
		if rt.method == method {
			if params, matches := rt.match(segments); matches {
				return rt, params
			}
		}
	}
	return nil, nil
}

func (rt *route) match(segments []string) (params []string, matches bool) {
	if len(segments) != len(rt.segments) {
		return nil, false
	}
	for i, fixed := range rt.segments {
		switch fixed {
		case "":
			params = append(params, segments[i])
		case segments[i]:
		default:
			return nil, false
		}
	}
	return params, true
}

// split cuts a path into its segments. Empty ones do not count, as in Knock's
// server framework: "/v1/users/" is the list of users.
func split(path string) []string {
	var segments []string
	for s := range strings.SplitSeq(path, "/") {
		if s != "" {
			segments = append(segments, s)
		}
	}
	return segments
}

// owner returns the recipient that a path below users or objects names, and the
// parameters that are left.
func (r *request) owner() (ref Ref, rest []string) {
	if r.route.segments[1] == "users" {
		return Ref{ID: r.params[0]}, r.params[1:]
	}
	return Ref{Collection: r.params[0], ID: r.params[1]}, r.params[2:]
}
