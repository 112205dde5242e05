package proxytest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// Image is a container image in a folder, in the form of the OCI image layout, version 1.0.
type Image struct {
	Dir    string
	Tag    string
	Digest string   // of its manifest
	Layers []string // digests
}

// descriptor is an OCI content descriptor.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const (
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// NewImage makes an image of two layers, one file each, the larger of which has 1.5 MiB. The same seed makes the same
// image, another seed one of which no part is the same.
func NewImage(t testing.TB, seed uint64) Image {
	t.Helper()
	img := Image{Dir: t.TempDir(), Tag: "latest"}
	blobs := filepath.Join(img.Dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		t.Fatal(err)
	}
	add := func(kind string, b []byte) descriptor {
		sum := sha256.Sum256(b)
		name := hex.EncodeToString(sum[:])
		writeFile(t, blobs, name, b)
		return descriptor{MediaType: kind, Digest: "sha256:" + name, Size: len(b)}
	}
	chance := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	var layers []descriptor
	var plain []string
	for _, file := range []struct {
		name string
		size int
	}{{"small", 1000}, {"large", 3 << 19}} {
		content := make([]byte, file.size)
		_, _ = chance.Read(content)
		archive, sum := layer(t, file.name, content)
		layers, plain = append(layers, add(mediaLayer, archive)), append(plain, sum)
	}
	for _, l := range layers {
		img.Layers = append(img.Layers, l.Digest)
	}
	config := add(mediaConfig, encode(t, map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": plain},
	}))
	manifest := add(mediaManifest, encode(t, map[string]any{
		"schemaVersion": 2, "mediaType": mediaManifest, "config": config, "layers": layers,
	}))
	img.Digest = manifest.Digest
	manifest.Annotations = map[string]string{"org.opencontainers.image.ref.name": img.Tag}
	writeFile(t, img.Dir, "oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	writeFile(t, img.Dir, "index.json", encode(t, map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}))
	return img
}

// Reference is what Docker's clients call the image by.
func (i Image) Reference() string { return "oci:" + i.Dir + ":" + i.Tag }

// layer packs one file, and returns the archive and the digest of its content before compression.
func layer(t testing.TB, name string, content []byte) (archive []byte, plain string) {
	t.Helper()
	var files, packed bytes.Buffer
	w := tar.NewWriter(&files)
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(files.Bytes())
	z := gzip.NewWriter(&packed)
	if _, err := files.WriteTo(z); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes(), "sha256:" + hex.EncodeToString(sum[:])
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
