package sdk

import (
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/oapi-codegen/runtime" // what the generated client stands on
)

// generatedMain lists the clusters by a generated client.
const generatedMain = `package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
)

func main() {
	c, err := NewClientWithResponses(os.Args[1], WithRequestEditorFn(func(_ context.Context, r *http.Request) error {
		r.Header.Set("Authorization", "Bearer "+os.Getenv("POSTERN_TOKEN"))
		return nil
	}))
	if err != nil {
		panic(err)
	}
	list, err := c.ListClustersWithResponse(context.Background(), &ListClustersParams{})
	if err != nil {
		panic(err)
	}
	for _, cluster := range list.JSON200.Clusters {
		fmt.Println(cluster.Id)
	}
}
`

// TestGeneratedClient generates a client from the OpenAPI document that a running Postern serves, compiles it, and asks it
// for the clusters.
func TestGeneratedClient(t *testing.T) {
	r := postern(t)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute) // the generator is compiled first
	defer cancel()
	dir := t.TempDir()

	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.APIURL+"/openapi.json", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	document, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", resp.Status, err, document)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	for name, text := range map[string][]byte{"openapi.json": document, "main.go": []byte(generatedMain)} {
		if err := os.WriteFile(at(name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(in string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = in, append(os.Environ(), "POSTERN_TOKEN="+r.Token)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	root := filepath.Join("..", "..")
	run(root, "tool", "-modfile=tools/go.mod", "oapi-codegen", "-generate", "types,client", "-package", "main", "-o", at("client.go"), at("openapi.json"))
	if got := run(".", "run", at("client.go"), at("main.go"), r.APIURL); strings.TrimSpace(got) != r.ClusterID {
		t.Errorf("the generated client lists %q, want %s", got, r.ClusterID)
	}
}
