package main

import (
	"bytes"
	"testing"
	"time"
)

func TestATableInAPipeIsPlainColumns(t *testing.T) {
	tab := table{head: []string{"NAME", "STATUS"}, none: "nothing"}
	var out bytes.Buffer
	if err := tab.write(&out); err != nil || out.String() != "nothing\n" {
		t.Errorf("an empty table says %q, %v", out.String(), err)
	}
	tab.add("acme", "AVAILABLE")
	tab.add("umbrella", "")
	out.Reset()
	if err := tab.write(&out); err != nil {
		t.Fatal(err)
	}
	// An empty cell would make awk count wrong.
	if want := "NAME      STATUS\nacme      AVAILABLE\numbrella  -\n"; out.String() != want {
		t.Errorf("the table is\n%s\nwant\n%s", out.String(), want)
	}
}

func TestWhen(t *testing.T) {
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, ""},
		{now, "0s ago"},
		{now.Add(-59 * time.Second), "59s ago"},
		{now.Add(-time.Minute), "1m ago"},
		{now.Add(-time.Hour), "1h ago"},
		{now.Add(-24 * time.Hour), "2026-03-03 12:00:00"},
		{now.Add(time.Minute), "2026-03-04 12:01:00"},
	} {
		if got := when(tc.at, now); got != tc.want {
			t.Errorf("when(%s) = %q, want %q", tc.at, got, tc.want)
		}
	}
}
