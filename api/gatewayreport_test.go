package api

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"
)

func TestReportIsWrittenAsByReflection(t *testing.T) {
	at := time.Date(2030, 1, 2, 3, 4, 5, 600, time.UTC)
	later := at.Add(time.Hour).In(time.FixedZone("", 3600))
	flow := GatewayFlow{
		ID: "f", ClusterID: "c", Listener: "private", EndpointID: "vpce-1", Source: "10.0.0.1:1", Name: "a.test", Port: 443,
		Backend: "b:1", StartedAt: at, EndedAt: &later, BytesIn: 1, BytesOut: -2, CloseReason: "CLIENT_CLOSED",
	}
	odd := GatewayFlow{Name: "\"\\<>& \x00\x7fé\u2028\xff", Source: "\n", Backend: "=", StartedAt: later}
	for name, r := range map[string]GatewayReport{
		"empty":     {},
		"one flow":  {GatewayID: "g", BatchID: "b", SentAt: at, Flows: []GatewayFlow{flow}},
		"odd flows": {GatewayID: "<g>", BatchID: "\"", SentAt: later, Flows: []GatewayFlow{flow, odd, {}}},
		"everything": {
			Flows: []GatewayFlow{flow, flow}, Refused: []GatewayRefusal{{Name: "<", Count: 3, FirstAt: at, LastAt: later}, {}},
			Backends: []GatewayBackend{{Backend: "b:1", At: at}}, Claims: []GatewayClaim{{ClaimID: "x", At: at}},
		},
	} {
		want, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := string(r.AppendJSON(nil)); got != string(want) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

func FuzzReportText(f *testing.F) {
	for _, s := range []string{"", "acme.us-east-1.pe.postern.test", "\"", "\\", "<&>", "é", "\xff\xfe", "\u2028", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, _ := json.Marshal(s)
		if got := appendText(nil, s); !bytes.Equal(got, want) {
			t.Errorf("%q: %s, want %s", s, got, want)
		}
	})
}

func BenchmarkReport(b *testing.B) {
	at := time.Now().UTC()
	r := GatewayReport{GatewayID: "g", BatchID: "b", SentAt: at}
	for range 500 {
		r.Flows = append(r.Flows, GatewayFlow{
			ID: "0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c11", ClusterID: "0b9f6c1e-6a4e-4a57-9a35-0d9d9a7f4c12", Listener: "private",
			EndpointID: "vpce-0a1b2c3d4e5f60718", Source: "10.1.2.3:40000", Name: "acme.us-east-1.pe.postern.test", Port: 443,
			Backend: "10.0.0.1:443", StartedAt: at, EndedAt: &at, BytesIn: 1000, BytesOut: 2000, CloseReason: "CLIENT_CLOSED",
		})
	}
	b.Run("appended", func(b *testing.B) {
		var buf []byte
		for b.Loop() {
			buf = r.AppendJSON(buf[:0])
		}
	})
	b.Run("by reflection", func(b *testing.B) {
		for b.Loop() {
			_, _ = json.Marshal(r)
		}
	})
}
