package eventlog

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/clerkknock/bridge"
)

// Explanation says in plain words how an attempt ended.
type Explanation struct {
	// What says what happened.
	What string `json:"what"`

	// Why says why. It is empty when there is nothing to explain.
	Why string `json:"why,omitempty"`

	// Do says what to do about it. It is empty when there is nothing to do.
	Do string `json:"do,omitempty"`

	// Next says who tries again, if anybody does.
	Next string `json:"next,omitempty"`
}

// Explain says in plain words how an attempt ended, why, and what to do.
func Explain(r *Record) Explanation {
	if r.Verification != Verified {
		e := verificationText[r.Verification]
		e.Next = "Nothing of it was processed. If it was Clerk, Svix will try again."
		return e
	}
	e := Explanation{What: outcomeText[r.Outcome], Next: next(r)}
	if r.Fault == nil {
		e.Do = outcomeAdvice[r.Outcome]
		return e
	}
	e.Why, e.Do = faultText(r, r.Fault)
	return e
}

func next(r *Record) string {
	switch {
	case r.DryRun:
		return "Nothing was sent: this was a dry run."
	case r.Replay && r.Failed():
		return "This was a replay. Svix does not know of it, and nobody repeats it."
	case r.Outcome == bridge.OutcomePermanent || r.Outcome == bridge.OutcomeMalformed:
		return "Nobody tries again: no further attempt can succeed as it is. Svix was told to stop, or the queue has given the delivery up and keeps it."
	case r.Failed():
		return "Svix tries again, eight times within 28 to 66 hours; with Config.Queue, its workers do. Steps that have succeeded are not repeated."
	}
	return ""
}

var outcomeText = map[bridge.Outcome]string{
	bridge.OutcomeDone:          "Done. The mapping functions have run without an error.",
	bridge.OutcomeQueued:        "Stored in the queue. The work on it is an attempt of its own.",
	bridge.OutcomeIgnored:       "Ignored. Nothing is mapped to this type of event.",
	bridge.OutcomeDuplicate:     "A duplicate. This delivery was processed before, or is already in the queue, so nothing was done.",
	bridge.OutcomeStale:         "Out of date. A newer state of the same user, organization or membership was applied before, or it has been deleted in Clerk, so nothing was sent.",
	bridge.OutcomeUnchanged:     "Unchanged. Knock was told the same the last time, less than a day ago, so nothing was sent.",
	bridge.OutcomeTransient:     "Not yet. A later attempt can succeed as it is.",
	bridge.OutcomeRejected:      "Rejected. Knock did not take a call.",
	bridge.OutcomeMisconfigured: "Misconfigured. It takes a change of the code or of the configuration.",
	bridge.OutcomePermanent:     "Failed for good. No attempt can succeed with this payload and this code.",
	bridge.OutcomeMalformed:     "Not an event. The signature is genuine, and the body is not a webhook event in JSON.",
}

var outcomeAdvice = map[bridge.Outcome]string{
	bridge.OutcomeIgnored: "If something should happen, map a function to the type with bridge.On. Otherwise take the type off the list of the endpoint in Clerk's dashboard.",
}

var verificationText = map[Verification]Explanation{
	NotPOST:        {What: "Not a POST.", Why: "A webhook is a POST. A browser or a health check was here.", Do: "Nothing, unless Clerk's endpoint is behind a redirect: these turn a POST into a GET. Give Clerk the final URL."},
	TooLarge:       {What: "The body is too large.", Why: "It is over Config.MaxBodyBytes, or over the limit of a handler in front.", Do: "Raise the limit if the sender is Clerk: Svix sends up to 1 MiB."},
	MissingHeader:  {What: "No signature.", Why: "The svix-id, svix-timestamp or svix-signature header is missing.", Do: "If it was Clerk, a proxy in front removes headers. If not, nothing."},
	BadHeader:      {What: "An unreadable signature.", Why: "A signature header is there and can't be read.", Do: "If it was Clerk, a proxy in front changes headers. If not, nothing."},
	TooOld:         {What: "Signed too long ago.", Why: "The timestamp is too far in the past. Svix signs every attempt anew, so either this machine's clock is ahead, or somebody repeats an old request.", Do: "Compare the clock of this machine with the real time."},
	TooNew:         {What: "Signed in the future.", Why: "The timestamp is too far in the future: this machine's clock is behind.", Do: "Compare the clock of this machine with the real time."},
	NoSignature:    {What: "No signature that can be checked.", Why: "The svix-signature header holds none of version v1.", Do: "If it was Clerk, a proxy in front changes headers. If not, nothing."},
	WrongSignature: {What: "The signature does not match.", Why: "The signing secret is another endpoint's, or the body was changed on its way (a proxy or a body parser that writes JSON anew), or the sender is not Clerk.", Do: "Compare the signing secret with that of the endpoint in Clerk's dashboard, development and production apart. Make sure that nothing reads the body before the handler."},
	Unread:         {What: "The body did not arrive.", Why: "The sender was too slow, or hung up.", Do: "Nothing, unless it comes often: look at the network in front."},
}

// faultText says why, and what to do.
func faultText(r *Record, f *Fault) (why, do string) {
	in := inFunctions(r.Functions)
	switch f.Kind {
	case FaultMissingField:
		if f.Status != 0 {
			return fmt.Sprintf("A field is missing: Knock wants %s in %s, and the call does not have it.", list(f.Fields, "a member"), f.Target),
				"Set it in the mapping " + in + ". Look at the payload for what it can be taken from; what may be null there needs another way."
		}
		return fmt.Sprintf("A field is missing: %s of %s is empty, so the call was not sent.", list(f.Fields, "an argument"), f.Op),
			missingAdvice(r, in)
	case FaultWrongPath:
		return "A wrong path: Knock does not have what " + f.Target + " names" + code(f) + ".",
			wrongPathAdvice(f) + " Then replay the delivery, or wait for the next attempt."
	case FaultWrongType:
		if f.Status != 0 {
			return fmt.Sprintf("A wrong type: Knock can't take %s in %s%s.", list(f.Fields, "a value"), f.Target, code(f)),
				"Compare the body of the call with Knock's API reference, and mend the mapping " + in + "."
		}
		return "A wrong type: the payload does not fit the Go type of the event.",
			"The problem names the member. Either Clerk has changed it, and a newer version of the library knows it, or the function " + in + " is mapped with a type of your own that does not fit."
	case FaultBadValue:
		return fmt.Sprintf("%s of %s can't be sent as it is.", list(f.Fields, "An argument"), f.Op), "The problem says what is wrong with it. Mend the mapping " + in + "."
	case FaultAPIKey:
		return "Knock refused the API key" + code(f) + ".", keyAdvice
	case FaultRateLimited:
		return "Knock had too many requests, or package pace had no turn for the call.", "Nothing: a later attempt has its turn. Where Knock itself answers so often, let package pace keep its limits."
	case FaultPaused:
		return fmt.Sprintf("Package pace held %s back: Knock answered %d to a call like it before.", f.Target, f.Status),
			pausedAdvice(f) + " Then nothing: one call is let through now and then, and its success ends the pause."
	case FaultKnockDown:
		return "Knock failed" + code(f) + ".", "Nothing, a later attempt can succeed. If it stays, give Knock's support the request id of the step."
	case FaultRefused:
		return "Knock refused " + f.Target + code(f) + ".", refusedAdvice(f)
	case FaultNoAnswer:
		return "No answer came from Knock to " + f.Target + ", or one that was not Knock's.",
			"Nothing, if it is rare. Otherwise see whether this machine reaches Knock, whether something in between answers for it, and how long Knock takes."
	case FaultTimeout:
		return "The time for the delivery was over, or the caller had gone.", "See which step took long. Config.Timeout bounds the work; Svix waits 15 seconds."
	case FaultBusy:
		return "Another attempt, or another delivery about the same user, organization or membership, was in progress.", "Nothing: they are processed one after the other."
	case FaultPanic:
		return "A mapping function panicked (" + functions(r.Functions) + "), or what the handler's Config holds did.", "The log of the server has the stack."
	case FaultNotAnEvent:
		return "The body is not an event of Clerk.", "See whether another service uses the endpoint with the same secret."
	case FaultVerification:
		return "The request was not verified.", ""
	case FaultOther:
	}
	return "The mapping function, or what it called, returned an error.", errorAdvice(r)
}

func missingAdvice(r *Record, in string) string {
	if r.Outcome == bridge.OutcomeMisconfigured {
		return "That does not come from the payload: the mapping " + in + " has to say it."
	}
	return "The mapping " + in + " takes it from a member that this event does not have, or that is null. Look at the payload, take it from elsewhere, or leave the call out when there is none."
}

func errorAdvice(r *Record) string {
	const text = "The problem is its text."
	if r.Outcome != bridge.OutcomeMisconfigured { // it is marked
		return text
	}
	return text + " An error that no attempt can mend is best returned through bridge.Permanent, one that mends itself through bridge.RetryAfter."
}

const keyAdvice = "Compare KNOCK_API_KEY with the secret key of the environment in Knock's dashboard: it begins with sk_, development and production have one each."

func pausedAdvice(f *Fault) string {
	if f.Status == http.StatusNotFound {
		return wrongPathAdvice(f)
	}
	return keyAdvice
}

func wrongPathAdvice(f *Fault) string {
	switch {
	case strings.Contains(f.Target, "/v1/workflows/"):
		return "Compare the key of the workflow in the mapping with Knock's dashboard, letter by letter, and see whether the workflow is committed to the environment of the API key."
	case strings.Contains(f.Target, "/v1/audiences/"):
		return "Compare the key of the audience in the mapping with Knock's dashboard, and see whether it is in the environment of the API key."
	case f.Code == "branch_not_found":
		return "Knock does not have the branch that the transport names."
	}
	return "See whether it has been created in the environment of the API key, and whether the base URL is Knock's."
}

func refusedAdvice(f *Fault) string {
	switch f.Code {
	case "workflow_inactive":
		return "The workflow is switched off in this environment. Switch it on in Knock's dashboard, and replay the delivery or wait for the next attempt."
	case "actor_missing":
		return "The call names an actor by id whom Knock does not know. Identify that user first, or give the actor inline, as an actions.IdentifyUser."
	}
	return "Look at the body of the call and at Knock's API log under the request id."
}

func code(f *Fault) string {
	switch {
	case f.Status == 0:
		return ""
	case f.Code == "":
		return fmt.Sprintf(" (%d)", f.Status)
	}
	return fmt.Sprintf(" (%d %s)", f.Status, f.Code)
}

func list(fields []string, none string) string {
	if len(fields) == 0 {
		return none
	}
	return strings.Join(fields, ", ")
}

func functions(names []string) string {
	if len(names) == 0 {
		return "unknown"
	}
	return strings.Join(names, ", ")
}

func inFunctions(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "(" + strings.Join(names, ", ") + ")"
}
