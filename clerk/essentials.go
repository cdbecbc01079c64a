package clerk

import "github.com/clerkknock/bridge/internal/essentials"

// It is the way to package bridge, for what nobody else should call.
//
//nolint:gochecknoinits // see above
func init() { essentials.Decode, essentials.DataTypes = decodeEssentials, dataTypes }

// decodeEssentials is essentials.Decode. What nobody reads can't fail it, and
// costs no more than passing over it.
func decodeEssentials(data []byte, v any) bool {
	d := decoder{b: data}
	if d.kind() != '{' {
		return false
	}
	var err error
	switch v := v.(type) {
	case *User:
		*v = User{EmailAddresses: spare(v.EmailAddresses), PhoneNumbers: spare(v.PhoneNumbers)}
		err = d.object(func(name []byte) error { return essentialUserMember(&d, v, name) })
	case *Organization:
		err = decodeObject(&d, v, essentialOrganizationMember)
	case *OrganizationMembership:
		err = decodeObject(&d, v, essentialMembershipMember)
	case *Session:
		err = decodeObject(&d, v, essentialSessionMember)
	case *DeletedObject:
		err = decodeObject(&d, v, essentialDeletedMember)
	default:
		return false
	}
	return err == nil
}

// spare returns the memory of a list of usual length.
func spare[T any](list []T) []T {
	const usual = 16
	if cap(list) > usual {
		return nil
	}
	return list[:0]
}

func essentialUserMember(d *decoder, u *User, name []byte) error {
	switch string(name) {
	case "id", "external_id", "primary_email_address_id", "primary_phone_number_id",
		"username", "first_name", "last_name", "locale", "timezone", "image_url", "public_metadata", "created_at", "updated_at":
		return userMember(d, u, name)
	case "email_addresses":
		return decodeSlice(d, &u.EmailAddresses, func(d *decoder, a *EmailAddress) error {
			return decodeObject(d, a, essentialEmailAddressMember)
		})
	case "phone_numbers":
		return decodeSlice(d, &u.PhoneNumbers, func(d *decoder, p *PhoneNumber) error {
			return decodeObject(d, p, essentialPhoneNumberMember)
		})
	default:
		return d.pass()
	}
}

func essentialEmailAddressMember(d *decoder, a *EmailAddress, name []byte) error {
	switch string(name) {
	case "id", "email_address":
		return emailAddressMember(d, a, name)
	default:
		return d.pass()
	}
}

func essentialPhoneNumberMember(d *decoder, p *PhoneNumber, name []byte) error {
	switch string(name) {
	case "id", "phone_number":
		return phoneNumberMember(d, p, name)
	default:
		return d.pass()
	}
}

func essentialOrganizationMember(d *decoder, o *Organization, name []byte) error {
	switch string(name) {
	case "id", "name", "slug", "image_url", "public_metadata", "updated_at":
		return organizationMember(d, o, name)
	default:
		return d.pass()
	}
}

func essentialMembershipMember(d *decoder, m *OrganizationMembership, name []byte) error {
	switch string(name) {
	case "id", "role", "role_name", "updated_at":
		return membershipMember(d, m, name)
	case "organization":
		return decodeObject(d, &m.Organization, func(d *decoder, o *Organization, name []byte) error {
			if string(name) == "id" {
				return decodeString(d, &o.ID)
			}
			return d.pass()
		})
	case "public_user_data":
		return decodeNullable(d, &m.PublicUserData, func(d *decoder, p *PublicUserData) error {
			return decodeObject(d, p, func(d *decoder, p *PublicUserData, name []byte) error {
				if string(name) == "user_id" {
					return decodeString(d, &p.UserID)
				}
				return d.pass()
			})
		})
	default:
		return d.pass()
	}
}

func essentialSessionMember(d *decoder, s *Session, name []byte) error {
	if string(name) == "user_id" {
		return decodeString(d, &s.UserID)
	}
	return d.pass()
}

func essentialDeletedMember(d *decoder, o *DeletedObject, name []byte) error {
	if string(name) == "id" {
		return decodeString(d, &o.ID)
	}
	return d.pass()
}
