package config

import (
	"fmt"
	"log/slog"
)

// Secret is a text that must not be seen: a password, a token, a URL that holds one. Printed, logged or marshalled in
// whatever way it says only that it is there.
type Secret struct{ text string }

// NewSecret makes a secret of a text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, for whom it is meant.
func (s Secret) Reveal() string { return s.text }

// IsZero tells whether there is none.
func (s Secret) IsZero() bool { return s.text == "" }

const redacted = "(secret)"

// String hides the text.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format hides the text from every verb of package fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText hides the text from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the text from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
