package l4

import (
	"encoding/binary"
	"errors"
)

// What PostgreSQL's protocol (its documentation, "Message Formats" and "SSL Session Encryption") puts before and around
// a TLS handshake.
const (
	// PostgresSSLRequest is the whole message with which a client asks whether the server speaks TLS.
	PostgresSSLRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"
	// PostgresYes is the whole answer of a server that takes a ClientHello next; PostgresNo that of one that goes on
	// without encryption. A server that does not know the request answers with an error message, which begins with 'E'.
	PostgresYes = 'S'
	PostgresNo  = 'N'
	// PostgresALPN is the application protocol that a client must offer when it begins with the ClientHello at once
	// (direct TLS, PostgreSQL 17).
	PostgresALPN = "postgresql"
)

// MaxPostgresStart is the longest first message that ParsePostgres takes, which is the limit of PostgreSQL itself.
const MaxPostgresStart = 10_000

// ErrNotPostgres says that the stream does not start as a PostgreSQL client does. It does not heal by reading on.
var ErrNotPostgres = errors.New("l4: the stream does not start with a PostgreSQL message")

// PostgresStart is the kind of a PostgreSQL client's first message. The zero value is none.
type PostgresStart uint8

// The first messages. After either request the client waits for one byte of answer and may then send another first
// message.
const (
	PostgresSSL     PostgresStart = iota + 1 // asks for TLS
	PostgresGSS                              // asks for encryption by GSSAPI
	PostgresCancel                           // asks to cancel a query of another connection, unencrypted
	PostgresStartup                          // StartupMessage of protocol 3: the session begins unencrypted
)

const (
	postgresHead       = 8 // length, which counts itself, and code
	postgresCancelHead = 12
	postgresCancelKey  = 256 // the longest, from protocol 3.2 on; four bytes before
	codeCancel         = 80877102
	codeSSL            = 80877103
	codeGSS            = 80877104
	postgresMajor      = 3
)

// ParsePostgres reads the first message of a PostgreSQL client at the start of buf and returns its kind and length. When
// buf ends too early the error is ErrIncomplete and the number is the length that buf must reach before another try can
// get further; the only other error is ErrNotPostgres.
//
// A client that asked for TLS or GSSAPI sends nothing more before it has the answer. Bytes behind the message, that is
// a length below len(buf), were put there by somebody on the way, who wants them to pass for the encrypted session's
// (CVE-2021-23214, CVE-2021-23222): such a flow must be refused.
func ParsePostgres(buf []byte) (PostgresStart, int, error) {
	// The first two bytes of the length are zero below the limit, so that nearly all else is refused at once.
	if len(buf) > 0 && buf[0] != 0 || len(buf) > 1 && buf[1] != 0 {
		return 0, 0, ErrNotPostgres
	}
	if len(buf) < postgresHead {
		return 0, postgresHead, ErrIncomplete
	}
	size, code := int(binary.BigEndian.Uint32(buf)), binary.BigEndian.Uint32(buf[4:])
	var kind PostgresStart
	least, most := postgresHead, postgresHead
	switch {
	case code == codeSSL:
		kind = PostgresSSL
	case code == codeGSS:
		kind = PostgresGSS
	case code == codeCancel:
		kind, least, most = PostgresCancel, postgresCancelHead+1, postgresCancelHead+postgresCancelKey
	case code>>16 == postgresMajor:
		kind, least, most = PostgresStartup, postgresHead+1, MaxPostgresStart // the parameters end with a zero byte
	}
	if kind == 0 || size < least || size > most {
		return 0, 0, ErrNotPostgres
	}
	if len(buf) < size {
		return 0, size, ErrIncomplete
	}
	return kind, size, nil
}
