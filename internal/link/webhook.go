package link

import "time"

// WebhookKind says how a subscription is told.
type WebhookKind string

// The kinds of subscription.
const (
	WebhookHTTP WebhookKind = "WEBHOOK" // a signed POST to URL, as Standard Webhooks describes it
	WebhookMail WebhookKind = "MAIL"    // a mail to Addresses
)

// Webhook is a subscription to happenings. One of an organisation is told of what stands in the organisation; one
// without, which is the vendor's, of everything.
type Webhook struct {
	ID             ID
	OrganisationID ID // empty: the whole installation
	Kind           WebhookKind
	URL            string      // of WebhookHTTP
	Addresses      []string    // of WebhookMail
	Types          []Happening // empty: all
	ProjectID      ID          // empty: any
	ClusterID      ID          // empty: any
	Description    string
	Enabled        bool
	DisabledReason string // upper snake case; empty while it is enabled
	CreatedAt      time.Time
	UpdatedAt      time.Time
	Version        int64 // grows with every write
}

// Wants tells whether the subscription is told of a happening.
func (w Webhook) Wants(h Happening) bool {
	if len(w.Types) == 0 || h == TestHappening {
		return true
	}
	for _, t := range w.Types {
		if t == h {
			return true
		}
	}
	return false
}

// Reasons for which a subscription is not enabled.
const (
	DisabledByRequest  = "DISABLED_BY_REQUEST" // somebody switched it off
	DisabledByReceiver = "RECEIVER_GONE"       // the receiver answered 410 Gone
)

// SigningKeys are what a webhook's messages are signed with. They never leave the process but in the answer that made
// them. Before is good beside Now until BeforeUntil, so that a receiver can change over.
type SigningKeys struct {
	Now         []byte
	Before      []byte // nil when there is none
	BeforeUntil time.Time
}

// DeliveryStatus is how a delivery stands.
type DeliveryStatus string

// The statuses of a delivery. A dead one is not tried again unless somebody asks for it.
const (
	DeliveryPending   DeliveryStatus = "PENDING"
	DeliveryDelivered DeliveryStatus = "DELIVERED"
	DeliveryDead      DeliveryStatus = "DEAD"
)

// Delivery is one event on its way to one subscription. Its ID is the same in every attempt.
type Delivery struct {
	ID        ID
	WebhookID ID
	Type      Happening
	Event     Event // as it was written
	Status    DeliveryStatus
	Attempts  int       // since it was made, or was asked for anew
	NextAt    time.Time // when it is tried next; zero when it is not
	LastError string    // of the last attempt, in words for whoever owns the subscription; empty when it succeeded
	CreatedAt time.Time
	UpdatedAt time.Time
	Version   int64 // grows with every write
}

// DeliveryAttempt is one try of a delivery.
type DeliveryAttempt struct {
	At     time.Time
	Status int           // of the HTTP answer, or of the mail server's; 0 when there was none
	Error  string        // in words for whoever owns the subscription; empty when it succeeded
	Took   time.Duration // until the answer, or until it was given up
}
