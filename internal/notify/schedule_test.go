package notify

import (
	"testing"
	"time"

	"github.com/postern/postern/internal/link"
)

func TestSchedule(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	d := link.Delivery{Status: link.DeliveryPending}
	var total, before time.Duration
	tries := 0
	for d.Status == link.DeliveryPending {
		tries++
		d = after(d, result{words: "no"}, now, 0.5)
		if d.Status != link.DeliveryPending {
			break
		}
		wait := d.NextAt.Sub(now)
		if tries <= 12 && wait < before {
			t.Errorf("after try %d: %v, sooner than the %v before", tries, wait, before)
		}
		if sooner, later := after(link.Delivery{Attempts: tries - 1}, result{}, now, 0).NextAt, after(link.Delivery{Attempts: tries - 1}, result{}, now, 1).NextAt; !sooner.Before(d.NextAt) || !later.After(d.NextAt) {
			t.Errorf("after try %d: chance makes no difference", tries)
		}
		total += wait
		before = wait
	}
	if tries != 16 || d.Status != link.DeliveryDead || d.LastError != "no" || !d.NextAt.IsZero() {
		t.Errorf("after %d tries: %+v", tries, d)
	}
	if total < 3*24*time.Hour || total > 4*24*time.Hour {
		t.Errorf("given up after %v, want a little more than three days", total)
	}
	if d := after(link.Delivery{Attempts: 3, Status: link.DeliveryPending, LastError: "no"}, result{arrived: true}, now, 0); d.Status != link.DeliveryDelivered || d.LastError != "" {
		t.Errorf("arrived: %+v", d)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, " 5 ": 5 * time.Second, "-5": 0, "soon": 0, "1e3": 0, "Wed, 06 May 2026 07:09:09 GMT": time.Minute,
		"Wed, 06 May 2026 07:00:00 GMT": 0, "99999999999999999999": 0,
	} {
		if got := retryAfter(s, now); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}
