package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"strings"
)

// Backup is a copy of the database as it is sent. The last read fails unless everything came as it was made. The caller
// closes it.
type Backup struct {
	Size   int64             // bytes
	SHA256 [sha256.Size]byte // of the whole

	body io.ReadCloser
	sum  hash.Hash
	read int64
}

// Backup opens a copy of the embedded database as it stands now. It holds secrets.
func (c *Client) Backup(ctx context.Context) (*Backup, error) {
	resp, err := c.get(ctx, path("backup"), "application/vnd.sqlite3")
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, fmt.Errorf("back up the database: %w", readError(resp))
	}
	b := &Backup{Size: resp.ContentLength, body: resp.Body, sum: sha256.New()}
	coded, fits := strings.CutPrefix(resp.Header.Get("Repr-Digest"), "sha-256=:")
	digest, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(coded, ":"))
	if !fits || err != nil || len(digest) != len(b.SHA256) || b.Size < 0 {
		return nil, errors.Join(errors.New("the server does not say what the backup is to be: is a proxy in between?"), b.Close())
	}
	copy(b.SHA256[:], digest)
	return b, nil
}

// Read implements io.Reader.
func (b *Backup) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	b.sum.Write(p[:n])
	b.read += int64(n)
	if errors.Is(err, io.EOF) && (b.read != b.Size || [sha256.Size]byte(b.sum.Sum(nil)) != b.SHA256) {
		return n, fmt.Errorf("the backup did not arrive as it was made: %d bytes of %d", b.read, b.Size)
	}
	return n, err
}

// Close implements io.Closer.
func (b *Backup) Close() error { return b.body.Close() }
