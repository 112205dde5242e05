package l4

// Opening is what the first byte of a stream promises.
type Opening uint8

// The openings. Whether the stream keeps the promise is for that protocol's parser to say.
const (
	OpeningUnknown  Opening = iota // none of the others
	OpeningTLS                     // a TLS handshake: for ParseClientHello
	OpeningPostgres                // a PostgreSQL client's first message: for ParsePostgres
)

// Sniff tells by its first byte how a stream opens. A TLS handshake record begins with 22; a PostgreSQL message with the
// highest byte of its length, which is zero since none is that long.
func Sniff(first byte) Opening {
	switch first {
	case recordHandshake:
		return OpeningTLS
	case 0:
		return OpeningPostgres
	}
	return OpeningUnknown
}
