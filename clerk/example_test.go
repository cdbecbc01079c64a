package clerk_test

import (
	"encoding/json"
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
