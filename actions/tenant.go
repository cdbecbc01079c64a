package actions

import (
	"context"
	"net/http"
)

// SetTenant creates or updates a tenant ("tenants_set"). It also serves as a
// [TenantRef], which Knock sets before it runs the workflow. Knock merges as it
// does for [IdentifyUser]; the zero value of a field is not sent.
type SetTenant struct {
	// ID is Clerk's organization id, required.
	ID string

	// Name is what people call it.
	Name string

	// Properties holds custom properties, see [IdentifyUser]. The name
	// "settings" is refused as well: use Settings.
	Properties map[string]any

	// ChannelData is keyed by channel id (a UUID): a Slack token for the whole
	// organization, say.
	ChannelData map[string]any

	// Settings is not sent when nil.
	Settings *TenantSettings
}

// TenantSettings are a tenant's branding and default preferences.
type TenantSettings struct {
	// Branding is sent member by member, a nil value as null: logo_url,
	// icon_url, primary_color, primary_color_contrast and their dark_ forms.
	Branding map[string]any

	// PreferenceSet is the default for the tenant's users. Knock merges it into
	// the stored set unless its PersistenceStrategy is [Replace].
	PreferenceSet *PreferenceSet

	// ClearPreferenceSet sends the preference set as null, which removes it.
	ClearPreferenceSet bool
}

func (t SetTenant) members(op string) *object {
	o := newRecipient(op, t.Properties, "settings")
	o.text("name", t.Name)
	if t.ChannelData != nil {
		o.member("channel_data", t.ChannelData)
	}
	if t.Settings == nil {
		return o
	}
	settings := make(map[string]any, 2)
	if t.Settings.Branding != nil {
		settings["branding"] = t.Settings.Branding
	}
	switch {
	case t.Settings.ClearPreferenceSet && t.Settings.PreferenceSet != nil:
		o.fail("settings.preference_set", "is both set and cleared")
	case t.Settings.ClearPreferenceSet:
		settings["preference_set"] = nil
	case t.Settings.PreferenceSet != nil:
		settings["preference_set"] = t.Settings.PreferenceSet
	}
	o.member("settings", settings)
	return o
}

// SetTenant creates or updates a tenant.
func (c *Client) SetTenant(ctx context.Context, t SetTenant) error {
	const op = "tenants.set"
	if err := checkID(op, "id", t.ID); err != nil {
		return err
	}
	body, err := t.members(op).end()
	if err != nil {
		return err
	}
	return c.putFor(ctx, Tenant(t.ID), operation{op, "tenants_set", t.ID, http.MethodPut, path("tenants", t.ID)}, body)
}

// DeleteTenant names the tenant to remove.
type DeleteTenant struct {
	// ID is the tenant's id, required.
	ID string
}

// DeleteTenant removes a tenant ("tenants_delete"). It succeeds when Knock does
// not have the tenant.
func (c *Client) DeleteTenant(ctx context.Context, t DeleteTenant) error {
	const op = "tenants.delete"
	if err := checkID(op, "id", t.ID); err != nil {
		return err
	}
	c.removing(Tenant(t.ID))
	return c.remove(ctx, operation{op, "tenants_delete", t.ID, http.MethodDelete, path("tenants", t.ID)})
}
