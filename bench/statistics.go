//go:build linux

package main

import (
	"slices"
	"time"
)

// summary is what several rounds said. The zero value is that of none.
type summary struct {
	Min    float64 `json:"min"`
	Median float64 `json:"median"`
	Max    float64 `json:"max"`
}

func summarise(rounds []float64) summary {
	if len(rounds) == 0 {
		return summary{}
	}
	sorted := slices.Sorted(slices.Values(rounds))
	n := len(sorted)
	return summary{Min: sorted[0], Median: (sorted[(n-1)/2] + sorted[n/2]) / 2, Max: sorted[n-1]}
}

// percentile returns the smallest value that at least p percent of the values do not exceed (the nearest rank); 0 when
// there are none. It sorts values.
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := int(p / 100 * float64(len(values)))
	if float64(rank)*100 < p*float64(len(values)) {
		rank++
	}
	return values[min(max(rank, 1), len(values))-1]
}
