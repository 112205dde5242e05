package api

import (
	"encoding/json"
	"strconv"
	"time"
)

// flowJSON is what most flows need in JSON, in bytes.
const flowJSON = 512

// AppendJSON appends the report as encoding/json would write it. A busy gateway writes ten thousand flows a second, which
// by reflection costs it a noticeable part of what it has.
func (r GatewayReport) AppendJSON(b []byte) []byte {
	b = appendText(append(b, `{"gateway_id":`...), r.GatewayID)
	b = appendText(append(b, `,"batch_id":`...), r.BatchID)
	b = appendTime(append(b, `,"sent_at":`...), r.SentAt)
	if len(r.Flows) > 0 {
		b = append(b, `,"flows":`...)
		for i := range r.Flows {
			b = r.Flows[i].appendJSON(append(b, opening(i)))
		}
		b = append(b, ']')
	}
	b = appendRest(b, `,"refused":`, r.Refused)
	b = appendRest(b, `,"backends":`, r.Backends)
	b = appendRest(b, `,"claims":`, r.Claims)
	return append(b, '}')
}

func (f *GatewayFlow) appendJSON(b []byte) []byte {
	b = appendText(append(b, `{"id":`...), f.ID)
	b = appendText(append(b, `,"cluster_id":`...), f.ClusterID)
	b = appendText(append(b, `,"listener":`...), f.Listener)
	if f.EndpointID != "" {
		b = appendText(append(b, `,"endpoint_id":`...), f.EndpointID)
	}
	b = appendText(append(b, `,"source":`...), f.Source)
	b = appendText(append(b, `,"name":`...), f.Name)
	if f.Port != 0 {
		b = strconv.AppendInt(append(b, `,"port":`...), int64(f.Port), 10)
	}
	if f.Backend != "" {
		b = appendText(append(b, `,"backend":`...), f.Backend)
	}
	b = appendTime(append(b, `,"started_at":`...), f.StartedAt)
	if f.EndedAt != nil {
		b = appendTime(append(b, `,"ended_at":`...), *f.EndedAt)
	}
	b = strconv.AppendInt(append(b, `,"bytes_in":`...), f.BytesIn, 10)
	b = strconv.AppendInt(append(b, `,"bytes_out":`...), f.BytesOut, 10)
	if f.CloseReason != "" {
		b = appendText(append(b, `,"close_reason":`...), f.CloseReason)
	}
	return append(b, '}')
}

// opening is what stands before element i of an array.
func opening(i int) byte {
	if i == 0 {
		return '['
	}
	return ','
}

// appendRest appends a list of what is not written often, nothing when it is empty.
func appendRest[E any](b []byte, key string, list []E) []byte {
	if len(list) == 0 {
		return b
	}
	text, err := json.Marshal(list)
	if err != nil {
		return b // only a time beyond the year 9999 cannot be written
	}
	return append(append(b, key...), text...)
}

func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // a string can always be written
			return append(b, text...)
		}
	}
	return append(append(append(b, '"'), s...), '"')
}

func appendTime(b []byte, t time.Time) []byte {
	return append(t.AppendFormat(append(b, '"'), time.RFC3339Nano), '"')
}
