package audit

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/internal/link"
)

// An export is lines of canonical JSON: a header, then entries by position, and after the entry that each signs the
// checkpoints. An entry that the reader may not see stands there as a stub: its hashes without its body.

const exportFormat = "postern-audit-export-1"

// Header is the first line of an export.
type Header struct {
	InstallationID string
	Keys           []ed25519.PublicKey // that sign checkpoints; the one that signs the header is among them
	From, To       int64               // positions of the first and the last entry; To < From when there is none
	OrganisationID link.ID             // whose entries are not stubs; empty: all
	ExportedAt     time.Time
}

// wireHeader is a header's line.
type wireHeader struct {
	ExportedAt     string   `json:"exported_at"`
	Format         string   `json:"format"`
	From           int64    `json:"from"`
	InstallationID string   `json:"installation_id"`
	Keys           []string `json:"keys"`
	OrganisationID link.ID  `json:"organisation_id,omitempty"`
	Signature      string   `json:"signature,omitempty"`
	To             int64    `json:"to"`
}

const headerDomain = "postern audit export 1\n"

func (h Header) wire() wireHeader {
	w := wireHeader{
		ExportedAt: h.ExportedAt.UTC().Format(timeLayout), Format: exportFormat, From: h.From, InstallationID: h.InstallationID,
		Keys: []string{}, OrganisationID: h.OrganisationID, To: h.To,
	}
	for _, k := range h.Keys {
		w.Keys = append(w.Keys, base64.StdEncoding.EncodeToString(k))
	}
	return w
}

// Line is the header as the export's first line, signed by key.
func (h Header) Line(key ed25519.PrivateKey) ([]byte, error) {
	w := h.wire()
	unsigned, err := canonical(w)
	if err != nil {
		return nil, err
	}
	w.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(key, append([]byte(headerDomain), unsigned...)))
	return line(w)
}

// parseHeader reads a header. What it says counts once one of the keys is found to have signed it.
func parseHeader(b []byte) (h Header, signedBy func([]ed25519.PublicKey) bool, err error) {
	var w wireHeader
	if err := read(b, &w); err != nil {
		return h, nil, err
	}
	if w.Format != exportFormat {
		return h, nil, fmt.Errorf("the format is %s, and %s is known here", link.Quote(w.Format), exportFormat)
	}
	h = Header{InstallationID: w.InstallationID, From: w.From, To: w.To, OrganisationID: w.OrganisationID}
	if h.From < 1 || h.To < h.From-1 {
		return h, nil, fmt.Errorf("an export from %d to %d", h.From, h.To)
	}
	if h.ExportedAt, err = time.Parse(timeLayout, w.ExportedAt); err != nil {
		return h, nil, err
	}
	for _, k := range w.Keys {
		key, err := ParseKey(k)
		if err != nil {
			return h, nil, err
		}
		h.Keys = append(h.Keys, key)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(w.Signature)
	if err != nil {
		return h, nil, errors.New("the header's signature is not base64")
	}
	w.Signature = ""
	unsigned, err := canonical(w)
	if err != nil {
		return h, nil, err
	}
	return h, func(keys []ed25519.PublicKey) bool {
		return slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool {
			return ed25519.Verify(k, append([]byte(headerDomain), unsigned...), sig)
		})
	}, nil
}

// wireLine is any line but the header.
type wireLine struct {
	Checkpoint string          `json:"checkpoint,omitempty"`
	Damaged    string          `json:"damaged,omitempty"` // in the place of entry: a body that is not canonical JSON
	Digest     string          `json:"digest,omitempty"`
	Entry      json.RawMessage `json:"entry,omitempty"`
	Hash       string          `json:"hash,omitempty"`
	Position   int64           `json:"position,omitempty"`
	Previous   string          `json:"previous,omitempty"`
}

// Line is an entry as a line of an export. It says what the database says, also where that is wrong: verify tells.
func (s Sealed) Line() ([]byte, error) {
	w := wireLine{Hash: s.Hash.String(), Position: s.Position, Previous: s.Previous.String()}
	if checkCanonical(s.Body) == nil {
		w.Entry = s.Body
	} else {
		w.Damaged = string(s.Body)
	}
	return line(w)
}

// Stub is an entry as a line of an export that does not show what it says.
func (s Sealed) Stub() ([]byte, error) {
	return line(wireLine{Digest: s.Digest.String(), Hash: s.Hash.String(), Position: s.Position, Previous: s.Previous.String()})
}

// CheckpointLine is a signed note as a line of an export.
func CheckpointLine(note []byte) ([]byte, error) { return line(wireLine{Checkpoint: string(note)}) }

func line(v any) ([]byte, error) {
	b, err := canonical(v)
	if err != nil {
		return nil, fmt.Errorf("write a line of an export of the audit log: %w", err)
	}
	return append(b, '\n'), nil
}
