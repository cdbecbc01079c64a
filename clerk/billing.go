package clerk

import (
	"encoding/json"

	"github.com/go-json-experiment/json/jsontext"
)

// Subscription is what a payer, a user or an organization, has subscribed to.
type Subscription struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// Status is "active", "past_due", "canceled", "ended", "abandoned",
	// "incomplete", "expired" or "upcoming". Clerk may add others.
	Status          string           `json:"status,omitzero"`
	PayerID         string           `json:"payer_id,omitzero"`
	Payer           Nullable[Payer]  `json:"payer,omitzero"`
	PaymentSourceID Nullable[string] `json:"payment_source_id,omitzero"`
	LatestPaymentID Nullable[string] `json:"latest_payment_id,omitzero"`
	// Items have neither a payer nor a subscription id here.
	Items      []SubscriptionItem `json:"items,omitzero"`
	ActiveAt   Nullable[Millis]   `json:"active_at,omitzero"`
	CanceledAt Nullable[Millis]   `json:"canceled_at,omitzero"`
	EndedAt    Nullable[Millis]   `json:"ended_at,omitzero"`
	PastDueAt  Nullable[Millis]   `json:"past_due_at,omitzero"`
	CreatedAt  Millis             `json:"created_at,omitzero"`
	UpdatedAt  Millis             `json:"updated_at,omitzero"`
}

// SubscriptionItem is one plan of a [Subscription]. Clerk sends two generations
// of it, the older inside a [PaymentAttempt]; this struct combines them.
// Members that a body's generation does not have stay absent.
type SubscriptionItem struct {
	ID     string `json:"id,omitzero"`
	Object string `json:"object,omitzero"`
	// Status is "active", "past_due", "canceled", "ended", "abandoned",
	// "incomplete", "upcoming" or "expired". Clerk may add others.
	Status      string `json:"status,omitzero"`
	IsFreeTrial bool   `json:"is_free_trial,omitzero"`
	// PeriodStart and PeriodEnd bound the present period. PeriodEnd is null on
	// the default plan, which does not end.
	PeriodStart Nullable[Millis] `json:"period_start,omitzero"`
	PeriodEnd   Nullable[Millis] `json:"period_end,omitzero"`
	// Interval is "month" or "annual". Older bodies have PlanPeriod instead: see
	// [SubscriptionItem.Period].
	Interval Nullable[Interval] `json:"interval,omitzero"`
	PlanID   Nullable[string]   `json:"plan_id,omitzero"`
	// Plan may be null.
	Plan Nullable[Plan] `json:"plan,omitzero"`
	// Payer is absent from items inside a subscription, as is SubscriptionID.
	Payer          Nullable[Payer]  `json:"payer,omitzero"`
	SubscriptionID Nullable[string] `json:"subscription_id,omitzero"`
	Seats          Nullable[Seats]  `json:"seats,omitzero"`
	CanceledAt     Nullable[Millis] `json:"canceled_at,omitzero"`
	PastDueAt      Nullable[Millis] `json:"past_due_at,omitzero"`
	EndedAt        Nullable[Millis] `json:"ended_at,omitzero"`
	CreatedAt      Millis           `json:"created_at,omitzero"`
	UpdatedAt      Millis           `json:"updated_at,omitzero"`

	// PlanPeriod and the members below belong to the older generation.
	PlanPeriod Nullable[string] `json:"plan_period,omitzero"`
	Amount     Nullable[Money]  `json:"amount,omitzero"`
	// Credit is the older form of Credits.
	Credit  Nullable[Credit]  `json:"credit,omitzero"`
	Credits Nullable[Credits] `json:"credits,omitzero"`
	// ProrationDate is a date such as "2026-05-01".
	ProrationDate Nullable[string] `json:"proration_date,omitzero"`
	// LifetimePaid and NextPaymentAmount are sent in full, or as a plain number,
	// which sets only the Amount.
	LifetimePaid      Nullable[Money]  `json:"lifetime_paid,omitzero"`
	NextPaymentAmount Nullable[Money]  `json:"next_payment_amount,omitzero"`
	NextPaymentDate   Nullable[Millis] `json:"next_payment_date,omitzero"`
}

// Period returns how often the item is billed, "month" or "annual", under
// whichever name the body carries it, or "".
func (i *SubscriptionItem) Period() string {
	if p := i.Interval.Or(""); p != "" {
		return string(p)
	}
	return i.PlanPeriod.Or("")
}

// Interval is a period of billing such as "month". In the plans of older bodies
// it is a number instead, kept here as its text: "1".
type Interval string

// UnmarshalJSON decodes a string or a number. Null is "".
func (i *Interval) UnmarshalJSON(b []byte) error {
	switch jsontext.Value(b).Kind() {
	case jsontext.KindNull:
		*i = ""
	case jsontext.KindNumber:
		*i = Interval(b)
	case jsontext.KindString:
		return unmarshal(b, (*string)(i))
	default:
		return mismatched[Interval](b)
	}
	return nil
}

// Plan is what can be subscribed to.
type Plan struct {
	ID   string `json:"id,omitzero"`
	Slug string `json:"slug,omitzero"`
	Name string `json:"name,omitzero"`
	// Amount is in minor units of Currency, such as cents.
	Amount      Nullable[int64] `json:"amount,omitzero"`
	Currency    string          `json:"currency,omitzero"`
	IsRecurring bool            `json:"is_recurring,omitzero"`
	IsDefault   bool            `json:"is_default,omitzero"`
	// UnitPrices are the prices of seats and the like.
	UnitPrices       []UnitPrice     `json:"unit_prices,omitzero"`
	FreeTrialEnabled bool            `json:"free_trial_enabled,omitzero"`
	FreeTrialDays    Nullable[int64] `json:"free_trial_days,omitzero"`

	// InstanceID and the members below belong to the older generation.
	InstanceID  string           `json:"instance_id,omitzero"`
	ProductID   string           `json:"product_id,omitzero"`
	Description Nullable[string] `json:"description,omitzero"`
	IsProrated  bool             `json:"is_prorated,omitzero"`
	// Period is "month" or "annual".
	Period string `json:"period,omitzero"`
	// Interval counts periods.
	Interval   Interval `json:"interval,omitzero"`
	HasBaseFee bool     `json:"has_base_fee,omitzero"`
	// AnnualMonthlyAmount is the price of a month when billed annually, in minor
	// units.
	AnnualMonthlyAmount Nullable[int64] `json:"annual_monthly_amount,omitzero"`
	PubliclyVisible     bool            `json:"publicly_visible,omitzero"`
}

// UnitPrice is the price of one unit of something, such as a seat.
type UnitPrice struct {
	Name      string     `json:"name,omitzero"`
	BlockSize int64      `json:"block_size,omitzero"`
	Tiers     []UnitTier `json:"tiers,omitzero"`
}

// UnitTier is the price of a range of blocks.
type UnitTier struct {
	StartsAtBlock int64 `json:"starts_at_block,omitzero"`
	// EndsAfterBlock is null in the last tier.
	EndsAfterBlock Nullable[int64] `json:"ends_after_block,omitzero"`
	// AmountPerBlock is in minor units of Currency.
	AmountPerBlock int64  `json:"amount_per_block,omitzero"`
	Currency       string `json:"currency,omitzero"`
}

// Seats is how many members an item pays for.
type Seats struct {
	// Quantity is null when it is not limited.
	Quantity Nullable[int64] `json:"quantity,omitzero"`
}

// Payer is who pays: a user or an organization. The members of the other kind
// are absent, null or "", depending on the age of the body.
type Payer struct {
	ID               string           `json:"id,omitzero"`
	Object           string           `json:"object,omitzero"`
	InstanceID       string           `json:"instance_id,omitzero"`
	UserID           Nullable[string] `json:"user_id,omitzero"`
	FirstName        Nullable[string] `json:"first_name,omitzero"`
	LastName         Nullable[string] `json:"last_name,omitzero"`
	Email            Nullable[string] `json:"email,omitzero"`
	OrganizationID   Nullable[string] `json:"organization_id,omitzero"`
	OrganizationName Nullable[string] `json:"organization_name,omitzero"`
	ImageURL         Nullable[string] `json:"image_url,omitzero"`
	CreatedAt        Millis           `json:"created_at,omitzero"`
	UpdatedAt        Millis           `json:"updated_at,omitzero"`
}

// Money is an amount of money.
type Money struct {
	// Amount is in minor units of Currency, such as cents.
	Amount int64 `json:"amount"`
	// AmountFormatted is for people, such as "$20.00".
	AmountFormatted string `json:"amount_formatted,omitzero"`
	Currency        string `json:"currency,omitzero"`
	CurrencySymbol  string `json:"currency_symbol,omitzero"`
}

// UnmarshalJSON decodes an object, or a plain number as the Amount.
func (m *Money) UnmarshalJSON(b []byte) error {
	*m = Money{}
	if jsontext.Value(b).Kind() == jsontext.KindNumber {
		return unmarshal(b, &m.Amount)
	}
	type fields Money
	return unmarshal(b, (*fields)(m))
}

// Credit is what is left of a period that was paid for but not used up.
type Credit struct {
	Amount                Nullable[Money] `json:"amount,omitzero"`
	CycleDaysRemaining    float64         `json:"cycle_days_remaining,omitzero"`
	CycleDaysTotal        float64         `json:"cycle_days_total,omitzero"`
	CycleRemainingPercent float64         `json:"cycle_remaining_percent,omitzero"`
}

// Credits is what reduces a payment.
type Credits struct {
	// Proration is null or absent when nothing is prorated.
	Proration Nullable[Credit] `json:"proration,omitzero"`
	// Payer is null or absent when the payer has no balance.
	Payer Nullable[PayerCredit] `json:"payer,omitzero"`
	Total Nullable[Money]       `json:"total,omitzero"`
}

// PayerCredit is what is taken from a payer's balance.
type PayerCredit struct {
	AppliedAmount    Nullable[Money] `json:"applied_amount,omitzero"`
	RemainingBalance Nullable[Money] `json:"remaining_balance,omitzero"`
}

// PaymentAttempt is an attempt to collect a payment.
type PaymentAttempt struct {
	ID         string `json:"id,omitzero"`
	Object     string `json:"object,omitzero"`
	InstanceID string `json:"instance_id,omitzero"`
	PaymentID  string `json:"payment_id,omitzero"`
	// InvoiceID is the older form of PaymentID.
	//
	// Deprecated: Use PaymentID.
	InvoiceID   string `json:"invoice_id,omitzero"`
	StatementID string `json:"statement_id,omitzero"`
	// GatewayExternalID is the id at the payment gateway.
	GatewayExternalID string `json:"gateway_external_id,omitzero"`
	// Status is "pending", "paid" or "failed". Clerk may add others.
	Status string `json:"status,omitzero"`
	// ChargeType is "checkout" or "recurring". Clerk may add others.
	ChargeType string `json:"charge_type,omitzero"`
	// FailedReason is null unless the attempt failed.
	FailedReason      Nullable[FailedReason]  `json:"failed_reason,omitzero"`
	Payee             Nullable[Payee]         `json:"payee,omitzero"`
	Payer             Nullable[Payer]         `json:"payer,omitzero"`
	Totals            Nullable[Totals]        `json:"totals,omitzero"`
	PaymentSource     Nullable[PaymentSource] `json:"payment_source,omitzero"`
	SubscriptionItems []SubscriptionItem      `json:"subscription_items,omitzero"`
	BillingDate       Millis                  `json:"billing_date,omitzero"`
	PaidAt            Nullable[Millis]        `json:"paid_at,omitzero"`
	FailedAt          Nullable[Millis]        `json:"failed_at,omitzero"`
	CreatedAt         Millis                  `json:"created_at,omitzero"`
	UpdatedAt         Millis                  `json:"updated_at,omitzero"`
}

// FailedReason says why a payment failed, in the words of the gateway.
type FailedReason struct {
	Code        string           `json:"code,omitzero"`
	DeclineCode Nullable[string] `json:"decline_code,omitzero"`
}

// Payee is who is paid: the customer's account at the payment gateway.
type Payee struct {
	ID                string `json:"id,omitzero"`
	GatewayType       string `json:"gateway_type,omitzero"`
	GatewayExternalID string `json:"gateway_external_id,omitzero"`
	// GatewayStatus is "active", "pending", "restricted" or "disconnected". Clerk
	// may add others.
	GatewayStatus string `json:"gateway_status,omitzero"`
}

// Totals is what a payment sums up to.
type Totals struct {
	Subtotal   Nullable[Money] `json:"subtotal,omitzero"`
	TaxTotal   Nullable[Money] `json:"tax_total,omitzero"`
	GrandTotal Nullable[Money] `json:"grand_total,omitzero"`
	// PerUnitTotals is an array of {name, amount, quantity, total, currency}.
	PerUnitTotals Nullable[json.RawMessage] `json:"per_unit_totals,omitzero"`
}

// PaymentSource is what a payment is made with.
type PaymentSource struct {
	ID                       string           `json:"id,omitzero"`
	Gateway                  string           `json:"gateway,omitzero"`
	GatewayExternalID        string           `json:"gateway_external_id,omitzero"`
	GatewayExternalAccountID Nullable[string] `json:"gateway_external_account_id,omitzero"`
	// PaymentMethod is "card" or "link". Clerk may add others.
	PaymentMethod string `json:"payment_method,omitzero"`
	Status        string `json:"status,omitzero"`
	// CardType is null for a payment method that is no card, as is Last4.
	CardType Nullable[string] `json:"card_type,omitzero"`
	Last4    Nullable[string] `json:"last4,omitzero"`
}
