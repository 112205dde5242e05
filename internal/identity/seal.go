package identity

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Seal keeps a value with a browser, which can neither read nor change it: AES-256-GCM with a key that all processes of an
// installation share.
type Seal struct{ aead cipher.AEAD }

// SealKeyLength is the length of a Seal's key in bytes.
const SealKeyLength = 32

// NewSealKey draws the key of a Seal.
func NewSealKey() []byte {
	key := make([]byte, SealKeyLength)
	_, _ = rand.Read(key) // never fails: crypto/rand aborts the program instead
	return key
}

// NewSeal returns the Seal of a key of SealKeyLength bytes.
func NewSeal(key []byte) (*Seal, error) {
	if len(key) != SealKeyLength {
		return nil, fmt.Errorf("a seal's key has %d bytes, not %d", SealKeyLength, len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return &Seal{aead}, err
}

// errSeal says nothing of what is wrong.
var errSeal = errors.New("the seal is broken")

// Close seals v, which has to marshal as JSON, as text for a cookie. purpose keeps seals of one kind from being taken for
// another's.
func (s *Seal) Close(purpose string, v any) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, b, []byte(purpose))), nil
}

// Open puts what was sealed for the purpose into v.
func (s *Seal) Open(purpose, sealed string, v any) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil {
		return errSeal
	}
	if b, err = s.aead.Open(nil, nil, b, []byte(purpose)); err != nil {
		return errSeal
	}
	return json.Unmarshal(b, v)
}
