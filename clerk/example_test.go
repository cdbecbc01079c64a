package clerk_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/clerkknock/bridge/clerk"
)

var exampleBody = []byte(`{
	"type": "user.created",
	"timestamp": 1767225600000,
	"data": {
		"id": "user_1",
		"first_name": "Anna",
		"last_name": null,
		"primary_email_address_id": "idn_2",
		"email_addresses": [
			{"id": "idn_1", "email_address": "old@example.com"},
			{"id": "idn_2", "email_address": "anna@example.com"}
		]
	}
}`)

func ExampleParse() {
	e, err := clerk.Parse("msg_1", exampleBody)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.Type, e.Timestamp)
	fmt.Println(e.Type == clerk.UserCreated.EventName())
	// Output:
	// user.created 2026-01-01 00:00:00 +0000 UTC
	// true
}

func ExampleDecode() {
	e, err := clerk.Parse("msg_1", exampleBody)
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := clerk.Decode[clerk.User](e)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(user.Data.ID, user.Data.FullName(), user.Data.PrimaryEmail())
	// Output: user_1 Anna anna@example.com
}

// An event that is newer than the package is declared in one line.
func ExampleEventType() {
	type Passkey struct {
		ID     string `json:"id"`
		UserID string `json:"user_id"`
	}
	const PasskeyCreated clerk.EventType[Passkey] = "passkey.created"

	e, err := clerk.Parse("msg_1", []byte(`{"type":"passkey.created","data":{"id":"pk_1","user_id":"user_1"}}`))
	if err != nil || e.Type != PasskeyCreated.EventName() {
		return
	}
	passkey, err := clerk.Decode[Passkey](e)
	if err != nil {
		return
	}
	fmt.Println(passkey.Data.UserID)
	// Output: user_1
}

func ExampleNullable() {
	var user clerk.User
	if err := json.Unmarshal([]byte(`{"first_name":"Anna","last_name":null}`), &user); err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []clerk.Nullable[string]{user.FirstName, user.LastName, user.Username} {
		value, ok := name.Get()
		fmt.Printf("%q %t null=%t absent=%t\n", value, ok, name.IsNull(), name.IsAbsent())
	}
	// Output:
	// "Anna" true null=false absent=false
	// "" false null=true absent=false
	// "" false null=false absent=true
}

func ExampleUser_PrimaryEmail() {
	user := clerk.User{
		PrimaryEmailAddressID: clerk.Value("idn_2"),
		EmailAddresses: []clerk.EmailAddress{
			{ID: "idn_1", EmailAddress: "old@example.com"},
			{ID: "idn_2", EmailAddress: "anna@example.com"},
		},
	}
	fmt.Println(user.PrimaryEmail())

	user.PrimaryEmailAddressID = clerk.Value("idn_3")
	fmt.Printf("%q\n", user.PrimaryEmail())
	// Output:
	// anna@example.com
	// ""
}

// Printing an event or a user, with whatever verb, shows nothing private.
func ExampleEvent() {
	e := clerk.Event[clerk.User]{
		ID:   "msg_1",
		Type: clerk.UserCreated.EventName(),
		Data: clerk.User{ID: "user_1", PrivateMetadata: clerk.Value(json.RawMessage(`{"note":"secret"}`))},
	}
	fmt.Printf("%+v\n", e)
	// Output: clerk.Event{id:"msg_1" type:"user.created" instance_id:"" timestamp:0001-01-01T00:00:00Z}
}

// The data of an event can be decoded into a type of one's own, here to read
// metadata by name.
func ExampleDecode_ownType() {
	type User struct {
		clerk.User

		PublicMetadata struct {
			Plan string `json:"plan"`
		} `json:"public_metadata"`
	}
	e, err := clerk.Parse("msg_1", []byte(`{"type":"user.updated","data":{"id":"user_1","public_metadata":{"plan":"pro"}}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := clerk.Decode[User](e)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(user.Data.ID, user.Data.PublicMetadata.Plan)
	// Output: user_1 pro
}

func ExampleParseError() {
	_, err := clerk.Parse("msg_1", []byte(`{"data":{}}`))
	if _, ok := errors.AsType[*clerk.ParseError](err); ok {
		fmt.Println("not an event")
	}
	// Output: not an event
}

func ExampleDecodeError() {
	e, err := clerk.Parse("msg_1", []byte(`{"type":"user.created","data":{"id":7}}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = clerk.Decode[clerk.User](e)
	if wrong, ok := errors.AsType[*clerk.DecodeError](err); ok {
		fmt.Println(wrong.Type, "has other data than expected")
	}
	// Output: user.created has other data than expected
}

// Fixtures of one's own: null and absent are told apart when written, too.
func ExampleValue() {
	data, err := json.Marshal(clerk.User{
		ID:        "user_1",
		FirstName: clerk.Value("Anna"),
		LastName:  clerk.Null[string](),
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		fmt.Println(err)
		return
	}
	_, sent := members["username"]
	fmt.Println(members["first_name"], members["last_name"], sent)
	// Output: Anna <nil> false
}

func ExampleNullable_Or() {
	user := clerk.User{FirstName: clerk.Value("Anna")}
	fmt.Println(user.FirstName.Or("there"))
	fmt.Println(user.LastName.Or("there"))
	// Output:
	// Anna
	// there
}

func ExampleUser_FullName() {
	anna := clerk.User{FirstName: clerk.Value("Anna"), LastName: clerk.Value("Berg")}
	guest := clerk.User{LastName: clerk.Null[string](), Username: clerk.Value("guest42")}
	fmt.Println(anna.FullName())
	fmt.Println(guest.FullName())
	// Output:
	// Anna Berg
	// guest42
}

func ExampleMillis_Time() {
	user := clerk.User{UpdatedAt: 1767225600000}
	fmt.Println(user.UpdatedAt.Time())
	// Output: 2026-01-01 00:00:00 +0000 UTC
}
