package link

// KeptAnswer is what was answered to a request that carried an idempotency key.
type KeptAnswer struct {
	Fingerprint string // of the request that it answered
	Status      int    // HTTP's
	ETag        string // empty when it had none
	Body        string // JSON; empty when the answer is shown once and was not kept
}
