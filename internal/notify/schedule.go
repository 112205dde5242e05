package notify

import (
	"time"

	"github.com/postern/postern/internal/link"
)

// waits are how long after each failed try the next one comes: soon at first, since most failures are a restart, and then
// ever less often, for three days in all, as Standard Webhooks advises. Up to a tenth is added by chance.
var waits = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour,
	4 * time.Hour, 8 * time.Hour, 12 * time.Hour, 12 * time.Hour, 12 * time.Hour, 12 * time.Hour, 8 * time.Hour,
}

// mostRetryAfter bounds how long a receiver can put a delivery off.
const mostRetryAfter = 12 * time.Hour

// result is what came of one try.
type result struct {
	arrived    bool
	gone       bool          // nothing shall be sent there any more
	status     int           // of the answer, 0 when there was none
	words      string        // why it did not arrive, for whoever owns the subscription
	retryAfter time.Duration // that the receiver asked for; 0 when it did not
	at         time.Time     // when it began; zero when there was no try
	took       time.Duration
}

// after is how a delivery stands after a try. dice is a random number from 0 to 1.
func after(d link.Delivery, r result, now time.Time, dice float64) link.Delivery {
	d.Attempts++
	d.NextAt, d.LastError = time.Time{}, r.words
	switch {
	case r.arrived:
		d.Status, d.LastError = link.DeliveryDelivered, ""
	case r.gone, d.Attempts > len(waits):
		d.Status = link.DeliveryDead
	default:
		wait := waits[d.Attempts-1]
		wait = max(wait+time.Duration(dice*float64(wait)/10), min(r.retryAfter, mostRetryAfter))
		d.NextAt = now.Add(wait).Truncate(time.Microsecond)
	}
	return d
}
