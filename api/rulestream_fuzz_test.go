package api

import (
	"bufio"
	"bytes"
	"io"
	"testing"
)

// Whatever a server sends, the stream ends with an error and not in another way, and every document came on a line of
// its own.
func FuzzRuleStream(f *testing.F) {
	for _, seed := range []string{
		"", "\n\n\n", `{"revision":1,"clusters":[]}` + "\n", `{"revision":1`, "null\n", "[]\n", "{}\r\n\n{}\n",
		`{"revision":1,"clusters":[{"cluster_id":"c","allowlist":[{"prefix":"::/0"}]}]}` + "\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, sent []byte) {
		s := &RuleStream{body: io.NopCloser(nil), in: bufio.NewReader(bytes.NewReader(sent))}
		documents, lines := 0, 0
		for {
			if _, err := s.Next(func() { lines++ }); err != nil {
				break
			}
			documents++
		}
		if n := bytes.Count(sent, []byte("\n")); lines > n || documents > lines {
			t.Errorf("%d documents on %d of %d lines", documents, lines, n)
		}
	})
}
