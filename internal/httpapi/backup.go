package httpapi

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// sqliteType is the media type of a SQLite database.
const sqliteType = "application/vnd.sqlite3"

func (s *server) backup() {
	op := route{
		method: http.MethodGet, path: "/api/v1/backup", id: "GetBackup", tag: "Backup",
		summary: `Copy the embedded database as it stands now, for "postern restore"; of a PostgreSQL there is none`,
	}.operation()
	op.Responses = map[string]*huma.Response{"200": {
		Description: "A SQLite database. It holds secrets",
		Headers: map[string]*huma.Param{
			"Repr-Digest": {Schema: &huma.Schema{Type: huma.TypeString}, Description: "SHA-256 of the body, as in RFC 9530"},
		},
		Content: map[string]*huma.MediaType{sqliteType: {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}},
	}}
	huma.Register(s.api, op, s.sendBackup)
}

// backupPart is how much of a backup is sent at once: what a peer has to take within the patience that a line of a stream has.
const backupPart = 256 << 10

func (s *server) sendBackup(ctx context.Context, _ *struct{}) (*huma.StreamResponse, error) {
	b, err := s.plane.Backup(ctx, callerOf(ctx))
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		w.Header().Set("Content-Type", sqliteType)
		w.Header().Set("Content-Length", strconv.FormatInt(b.Size, 10))
		w.Header().Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(b.SHA256[:])+":")
		w.WriteHeader(http.StatusOK)
		err := s.sendParts(w, b)
		if cerr := b.Close(); cerr != nil {
			s.o.Log.Error("remove a backup that was sent", "err", cerr)
		}
		if err != nil {
			if ctx.Err() == nil {
				requestOf(ctx).fail(ctx, err)
			}
			panic(http.ErrAbortHandler) // half a backup must not look like a whole one
		}
	}}, nil
}

// sendParts sends everything that r gives, as long as the peer keeps taking it and the server is not being stopped.
func (s *server) sendParts(w http.ResponseWriter, r io.Reader) error {
	out := &lines{w: w, rc: http.NewResponseController(w), patience: streamPatience}
	part := make([]byte, backupPart)
	for {
		n, err := io.ReadFull(r, part)
		if n > 0 {
			select {
			case <-s.o.Done:
				return context.Canceled
			default:
			}
			if err := out.write(part[:n]); err != nil {
				return err
			}
		}
		switch err {
		case nil:
		case io.EOF, io.ErrUnexpectedEOF:
			return nil
		default:
			return err
		}
	}
}
