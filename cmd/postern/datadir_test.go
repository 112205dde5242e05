package main

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestTheDataDirectoryRemembers(t *testing.T) {
	dir, err := openDataDir(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	first, err := dir.secret("token")
	if err != nil {
		t.Fatal(err)
	}
	again, err := dir.secret("token")
	if err != nil || again != first {
		t.Errorf("the token is %q at first and %q later, %v", first, again, err)
	}
	other, err := dir.secret("gateway-token")
	if err != nil || other == first {
		t.Errorf("two tokens are alike, or %v", err)
	}
	accs, err := dir.accounts()
	if err != nil {
		t.Fatal(err)
	}
	same, err := dir.accounts()
	if err != nil || len(same) != len(roles) || same[0] != accs[0] {
		t.Errorf("the accounts are %v at first and %v later, %v", accs, same, err)
	}
	for _, name := range []string{"token", "accounts.json"} {
		info, err := os.Stat(dir.path(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v; a secret is its owner's alone", name, info.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(dir.path("*.*.*")); len(left) > 0 {
		t.Errorf("temporary files are left: %v", left)
	}
}

func TestADamagedFileIsNamedAndNotReplaced(t *testing.T) {
	ready := func(d dataDir) error { _, err := readReady(string(d)); return err }
	secret := func(d dataDir) error { _, err := d.secret("token"); return err }
	accounts := func(d dataDir) error { _, err := d.accounts(); return err }
	ca := func(d dataDir) error { _, err := openAuthority(string(d), time.Now()); return err }
	for _, tc := range []struct {
		name, file, content string
		open                func(dataDir) error
		says                string
	}{
		{"a token cut short", "token", "pst_ab\n", secret, "remove it to make a new one"},
		{"an empty token", "token", "", secret, "remove it to make a new one"},
		{"accounts that are no JSON", "accounts.json", `[{"id":`, accounts, "is damaged"},
		{"accounts of another program", "accounts.json", `[]`, accounts, "it holds 0 accounts, not 3"},
		{"half a ready file", "ready.json", `{"api_url":`, ready, "writes it anew"},
		{"a certificate that is none", "ca.pem", "-----BEGIN", ca, "remove ca.pem and ca-key.pem"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := dataDir(t.TempDir())
			if tc.file == "ca.pem" {
				if err := ca(dir); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(dir.path(tc.file), []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			err := tc.open(dir)
			if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), string(dir)) {
				t.Errorf("the error is %v; it should name the file and say %q", err, tc.says)
			}
			if b, _ := os.ReadFile(dir.path(tc.file)); string(b) != tc.content {
				t.Errorf("the file now holds %q", b)
			}
		})
	}
}

func TestADataDirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openDataDir(filepath.Join(file, "data")); err == nil || !strings.Contains(err.Error(), "cannot be made") {
		t.Errorf("a folder beneath a file: %v", err)
	}
}

func TestTheAuthoritySignsForItsNamesAlone(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	first, err := openAuthority(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := openAuthority(dir, now)
	if err != nil || !ca.cert.Equal(first.cert) {
		t.Fatalf("opened again, the authority is another one, or %v", err)
	}
	pair, err := ca.issue([]string{"acme.us-east-1.pe.postern.test"}, now)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	for name, holds := range map[string]bool{"acme.us-east-1.pe.postern.test": true, "umbrella.us-east-1.pe.postern.test": false} {
		_, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: first.pool(), CurrentTime: now})
		if (err == nil) != holds {
			t.Errorf("the certificate for %s: %v, want it to hold: %t", name, err, holds)
		}
	}
	// A first start that was cut off after the key goes on.
	if err := os.Remove(filepath.Join(dir, "ca.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(dir, now); err != nil {
		t.Errorf("with the key alone: %v", err)
	}
}
