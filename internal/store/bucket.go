package store

import (
	"context"
	"errors"
	"time"
)

// Bucket is what a token bucket holds at most and gets back, as the cloud has it.
type Bucket struct {
	Name      string
	Burst     float64 // tokens; at least 1
	PerSecond float64 // tokens; more than 0
}

// level is how a bucket stands: the zero level is a bucket that nobody has used yet. Tokens are thousandths.
type level struct {
	tokens   int64
	rate     int64 // tokens that come back in a second
	at       time.Time
	slowedAt time.Time // zero: never
}

// What the cloud's answers do to a bucket's rate: an answer that says "too often" halves it, and it comes back in equal
// steps. So several processes that do not know of each other find their shares, as TCP's do.
const (
	token        = 1000
	recoverIn    = time.Minute // from nothing to the whole rate
	slowedOnceIn = time.Second // answers within it are of one burst, and count once
	leastShare   = 64          // of the bucket's rate: it is never less than this part
)

// longestSkew is how far ahead of a process's clock a bucket may have been written. What is farther was written by a clock
// that was wrong, and its time says nothing.
const longestSkew = 5 * time.Second

// refill brings a bucket to a time. Time never runs backwards in a bucket: a process whose clock is behind another's gets
// no token twice.
func (l level) refill(b Bucket, now time.Time) level {
	burst, rate := int64(b.Burst*token), max(1, int64(b.PerSecond*token))
	switch {
	case l.at.IsZero():
		return level{tokens: burst, rate: rate, at: now}
	case l.at.Sub(now) > longestSkew:
		l.at = now
		return l
	case !now.After(l.at):
		return l
	}
	past := min(now.Sub(l.at), time.Hour)
	recovered := min(rate, l.rate+int64(float64(rate)*past.Seconds()/recoverIn.Seconds()))
	l.tokens = min(burst, l.tokens+int64(float64(l.rate+recovered)/2*past.Seconds()))
	l.rate = recovered
	l.at = now
	return l
}

// take takes up to n whole tokens, and says after how long there will be one where there is none.
func (l level) take(b Bucket, now time.Time, n int) (after level, got int, wait time.Duration) {
	l = l.refill(b, now)
	got = min(n, int(l.tokens/token))
	if got > 0 {
		l.tokens -= int64(got) * token
		return l, got, 0
	}
	missing := float64(token - l.tokens)
	return l, 0, time.Duration(missing/float64(l.rate)*float64(time.Second)) + l.at.Sub(now)
}

// slow takes the cloud's word that it was asked too often: there are no tokens, and they come back at half the rate.
func (l level) slow(b Bucket, now time.Time) level {
	l = l.refill(b, now)
	if !l.slowedAt.IsZero() && l.at.Sub(l.slowedAt) < slowedOnceIn {
		return l
	}
	l.tokens = min(l.tokens, 0)
	l.rate = max(1, l.rate/2, int64(b.PerSecond*token)/leastShare)
	l.slowedAt = l.at
	return l
}

// TakeTokens takes up to n tokens of a bucket that all processes share. Where there is none it says after how long it is
// worth to ask again.
func (s *Store) TakeTokens(ctx context.Context, b Bucket, n int) (got int, wait time.Duration, err error) {
	err = s.Write(unheld(ctx), func(tx *Tx) error {
		return tx.changeBucket(b, func(l level) level {
			l, got, wait = l.take(b, tx.now, n)
			return l
		})
	})
	return got, wait, err
}

// TakeAll takes what up to n things cost out of a bucket, with the transaction, and returns for how many there was enough.
// Where there is not enough for one it says after how long there will be. A thing that costs more than the bucket holds costs
// all of it.
func (tx *Tx) TakeAll(b Bucket, cost, n int) (enough int, wait time.Duration, err error) {
	cost = min(cost, int(b.Burst))
	err = tx.changeBucket(b, func(l level) level {
		l = l.refill(b, tx.now)
		if enough = min(n, int(l.tokens/token)/cost); enough > 0 {
			l, _, _ = l.take(b, tx.now, enough*cost)
			return l
		}
		wait = time.Duration((float64(cost)*token-float64(l.tokens))/float64(l.rate)*float64(time.Second)) + l.at.Sub(tx.now)
		return l
	})
	return enough, wait, err
}

// SlowBucket notes that the cloud said it was asked too often.
func (s *Store) SlowBucket(ctx context.Context, b Bucket) error {
	return s.Write(ctx, func(tx *Tx) error {
		return tx.changeBucket(b, func(l level) level { return l.slow(b, tx.now) })
	})
}

// changeBucket stores what change makes of a bucket. The row is locked by a first write, so that no other process reads
// it meanwhile.
func (tx *Tx) changeBucket(b Bucket, change func(level) level) error {
	if b.Name == "" {
		return errors.New("a bucket needs a name")
	}
	var l level
	err := tx.row(`INSERT INTO cloud_buckets (name, tokens, rate, at, slowed_at) VALUES ($1, 0, 0, 0, 0)
		ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING tokens, rate, at, slowed_at`, b.Name).
		Scan(&l.tokens, &l.rate, at(&l.at), at(&l.slowedAt))
	if err != nil {
		return err
	}
	l = change(l)
	_, err = tx.exec(`UPDATE cloud_buckets SET tokens = $2, rate = $3, at = $4, slowed_at = $5 WHERE name = $1`,
		b.Name, l.tokens, l.rate, stamp(l.at), stamp(l.slowedAt))
	return err
}
