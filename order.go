package bridge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/clerkknock/bridge/actions"
	"github.com/clerkknock/bridge/clerk"
	"github.com/clerkknock/bridge/internal/essentials"
)

// Stale reports whether the event of this delivery is out of date: a newer state
// of its user, organization or membership has been applied, or the user,
// organization or membership has been deleted. The default functions then leave
// Knock as it is. Call it from a function that writes state, with the context
// that function was given:
//
//	if bridge.Stale(ctx) {
//		return nil
//	}
//
// States are ordered by updated_at, or by the event's timestamp where there is
// none. Ties are broken by the timestamp, then a creation comes before an update,
// and then by the svix-id. A state with neither is not ordered: it is stale only
// when what it is about has been deleted.
//
// For a membership that has ended, Stale is also true while the same user has another
// membership in the same organization. If it ended because Clerk deleted its user or
// organization, Stale is true only when these were deleted in Knock, too: where a function
// of yours has kept them, their subscription is still to be removed. For a session, Stale
// is true when the user has been deleted. It is false for all other
// events, in a dry run, and outside of a delivery.
//
// A stale event still starts workflows, because people should hear of what
// happened. Where they should not, use [SkipStale].
func Stale(ctx context.Context) bool {
	w := workOf(ctx)
	if w == nil || w.ledger == nil || w.subject == nil || w.subject.deletes != nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone || w.held[0].state.stale(w.subject) {
		w.sawStale = true
		return true
	}
	w.asked = true
	return false
}

// SkipStale returns a function that does nothing for stale events, see [Stale],
// and calls fn for all others.
func SkipStale[T any](fn Func[T]) Func[T] {
	if fn == nil {
		return nil
	}
	return func(ctx context.Context, e *clerk.Event[T], knock *actions.Client) error {
		if Stale(ctx) {
			return nil
		}
		return fn(ctx, e, knock)
	}
}

// subject is what an event says about which entity.
type subject struct {
	// entities are those that nobody else may write meanwhile. The first is the
	// one whose state the event carries.
	entities []target
	reads    []string          // entities whose deletion makes the event stale
	mark     mark              // the state's place in the order; zero for none
	deletes  actions.Reference // what the event says is gone, nil for any other event
	member   string            // the membership's id
	leaves   bool              // the membership has ended
}

// target is an entity, and the name of the step that writes its state to Knock
// as a whole, if there is one.
type target struct{ key, step string }

func user(id string) target         { return target{userKey(id), "users.identify:" + id} }
func organization(id string) target { return target{organizationKey(id), "tenants.set:" + id} }

func userKey(id string) string         { return "user/" + keyPart(id) }
func organizationKey(id string) string { return "organization/" + keyPart(id) }

// keyPart keeps a key within what a Ledger has to take.
func keyPart(id string) string {
	const longest = 256
	part := url.PathEscape(id)
	if len(part) <= longest {
		return part
	}
	sum := sha256.Sum256([]byte(id))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// isWrittenBy reports whether a step that has succeeded writes the subject's
// state. One that does not do so by itself does when a function has asked
// whether the event is stale before.
func (s *subject) isWrittenBy(step *Step, asked bool) bool {
	if !writesState(step.Kind) {
		return false
	}
	switch step.Kind {
	case "objects_subscribe", "objects_unsubscribe":
		return asked || s.member != ""
	default:
		return asked || s.entities[0].step != "" && step.Name == s.entities[0].step
	}
}

// isRemovedBy reports whether a step deletes in Knock what the event says is gone.
func (s *subject) isRemovedBy(step *Step) bool {
	name, _, _ := strings.Cut(step.Name, "#") // of a repeat
	switch gone := s.deletes.(type) {
	case actions.UserID:
		return name == "users.delete:"+string(gone)
	case actions.ObjectRef: // tenants are objects, too
		return name == "tenants.delete:"+gone.ID || name == "objects.delete:"+gone.Collection+"/"+gone.ID
	default:
		return false
	}
}

// subjectOf returns the subject of an event, nil for one that has none, or whose
// data does not say which. What else is in the data does not matter.
func subjectOf(raw *rawEvent) *subject {
	switch raw.Type {
	case clerk.UserCreated.EventName(), clerk.UserUpdated.EventName():
		if u := essentialsOf[clerk.User](raw); u != nil && u.ID != "" {
			return &subject{entities: []target{user(u.ID)}, mark: newMark(raw.AnyEvent, u.UpdatedAt)}
		}
	case clerk.UserDeleted.EventName():
		if o := essentialsOf[clerk.DeletedObject](raw); o != nil && o.ID != "" {
			return &subject{entities: []target{user(o.ID)}, deletes: actions.UserID(o.ID)}
		}
	case clerk.OrganizationCreated.EventName(), clerk.OrganizationUpdated.EventName():
		if o := essentialsOf[clerk.Organization](raw); o != nil && o.ID != "" {
			return &subject{entities: []target{organization(o.ID)}, mark: newMark(raw.AnyEvent, o.UpdatedAt)}
		}
	case clerk.OrganizationDeleted.EventName():
		if o := essentialsOf[clerk.DeletedObject](raw); o != nil && o.ID != "" {
			return &subject{entities: []target{organization(o.ID)}, deletes: actions.Tenant(o.ID)}
		}
	case clerk.OrganizationMembershipCreated.EventName(), clerk.OrganizationMembershipUpdated.EventName(),
		clerk.OrganizationMembershipDeleted.EventName():
		m := essentialsOf[clerk.OrganizationMembership](raw)
		if m == nil || m.UserID() == "" || m.OrganizationID() == "" {
			return nil
		}
		of, member := organization(m.OrganizationID()), user(m.UserID())
		return &subject{
			entities: []target{{key: of.key + "/" + member.key}, member}, reads: []string{of.key},
			mark: newMark(raw.AnyEvent, m.UpdatedAt), member: m.ID,
			leaves: raw.Type == clerk.OrganizationMembershipDeleted.EventName(),
		}
	case clerk.SessionCreated.EventName(), clerk.SessionEnded.EventName(), clerk.SessionPending.EventName(),
		clerk.SessionRemoved.EventName(), clerk.SessionRevoked.EventName():
		if s := essentialsOf[clerk.Session](raw); s != nil && s.UserID != "" {
			return &subject{entities: []target{user(s.UserID)}}
		}
	}
	return nil
}

// essentialsOf returns an event's data, or just the essentials when others do not fit
// T, or nil.
func essentialsOf[T any](raw *rawEvent) *T {
	if e, err := decode[T](raw); err == nil {
		return &e.Data
	}
	v := new(T)
	if !essentials.Decode(raw.Data, v) {
		return nil
	}
	return v
}

// mark is the place of a state in the order of all states of its entity.
type mark struct {
	Version  int64  `json:"v,omitzero"` // updated_at in milliseconds, or Stamp
	Stamp    int64  `json:"t,omitzero"` // the event's timestamp in milliseconds
	Later    bool   `json:"u,omitzero"` // an update, which no creation comes after
	Delivery string `json:"d,omitzero"` // the svix-id, so that no two are equal
}

func newMark(e *clerk.AnyEvent, updated clerk.Millis) mark {
	m := mark{Delivery: e.ID, Later: strings.HasSuffix(e.Type, ".updated")}
	if !e.Timestamp.IsZero() {
		m.Stamp = e.Timestamp.UnixMilli()
	}
	if at := updated.Time(); !at.IsZero() {
		m.Version = at.UnixMilli()
	} else {
		m.Version = m.Stamp
	}
	return m
}

// before orders two marks. One without a version can't be compared.
func (m mark) before(other mark) bool {
	if m.Version == 0 || other.Version == 0 {
		return false
	}
	order := cmp.Or(cmp.Compare(m.Version, other.Version), cmp.Compare(m.Stamp, other.Stamp))
	if order == 0 && m.Later != other.Later {
		return other.Later
	}
	return cmp.Or(order, cmp.Compare(m.Delivery, other.Delivery)) < 0
}

// stateFormat is the newest format of a state that this version can read.
const stateFormat = 1

// maxLeft bounds how many memberships of one user in one organization are known
// to have ended.
const maxLeft = 64

// state is the State of an Entity.
type state struct {
	Format int `json:"f"`
	// Mark is the newest state that was applied.
	Mark mark `json:"m,omitzero"`
	// Live are the memberships that have not ended, by id, and the newest mark
	// of each; Left are those that have, the latest last.
	Live map[string]mark `json:"live,omitzero"`
	Left []string        `json:"left,omitzero"`
	// Sent is a digest of what Knock was told last by the subject's step, and SentAt
	// when, in seconds since 1970.
	Sent   string `json:"sent,omitzero"`
	SentAt int64  `json:"at,omitzero"`
	// Removed is true once it has been deleted in Knock.
	Removed bool `json:"removed,omitzero"`
}

// holds reports whether Knock was told that not long ago, and nothing else since.
func (s *state) holds(digest string, now time.Time) bool {
	age := now.Sub(time.Unix(s.SentAt, 0))
	return digest == s.Sent && age > -time.Minute && age < unchangedWindow // clocks differ, and are set back
}

// sent notes what Knock was told, or that it is not known.
func (s *state) sent(digest string, at time.Time) {
	s.Sent, s.SentAt = digest, 0
	if digest != "" {
		s.SentAt = at.Unix()
	}
}

func readState(e Entity) (state, error) {
	s := state{Format: stateFormat}
	if len(e.State) == 0 {
		return s, nil
	}
	if err := jsonv2.Unmarshal(e.State, &s); err != nil {
		return s, fmt.Errorf("bridge: the ledger's state of %s is unreadable: %w", e.Key, err)
	}
	if s.Format > stateFormat {
		return s, fmt.Errorf("bridge: the ledger's state of %s was written by a newer version (format %d)", e.Key, s.Format)
	}
	if e.Crashed {
		s.sent("", time.Time{}) // what the last holder sent is not known
	}
	return s, nil
}

// stale says whether the subject is out of date in view of the entity's state.
// An ended membership is, when another one goes on.
func (s *state) stale(sub *subject) bool {
	if sub.member == "" {
		return sub.mark.before(s.Mark)
	}
	if sub.leaves {
		for id := range s.Live {
			if id != sub.member {
				return true
			}
		}
		return false
	}
	if slices.Contains(s.Left, sub.member) {
		return true
	}
	for _, m := range s.Live {
		if sub.mark.before(m) {
			return true
		}
	}
	return false
}

// learn adds what the event says of memberships. That holds whether or not Knock
// has been told.
func (s *state) learn(sub *subject) {
	switch {
	case sub.member == "":
	case sub.leaves:
		delete(s.Live, sub.member)
		if !slices.Contains(s.Left, sub.member) {
			s.Left = append(s.Left, sub.member)
			s.Left = s.Left[max(0, len(s.Left)-maxLeft):]
		}
	case !slices.Contains(s.Left, sub.member):
		if s.Live == nil {
			s.Live = make(map[string]mark, 1)
		}
		if _, ok := s.Live[sub.member]; !ok {
			s.Live[sub.member] = mark{}
		}
	}
}

// apply notes that Knock has been told the state that the event carries.
func (s *state) apply(sub *subject) {
	if m, ok := s.Live[sub.member]; ok && !sub.leaves {
		if !sub.mark.before(m) {
			s.Live[sub.member] = sub.mark
		}
		return
	}
	if sub.mark.Version != 0 && !sub.mark.before(s.Mark) {
		s.Mark = sub.mark
	}
}
