package backend

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

func TestChoose(t *testing.T) {
	const either = -2
	tests := []struct {
		name string
		from []candidate
		want int // -1: none
	}{
		{"nobody", nil, -1},
		{"nobody with a weight", []candidate{{0, 0}, {0, 5}}, -1},
		{"one", []candidate{{1, 1000}}, 0},
		{"one with a weight", []candidate{{0, 0}, {3, 1000}, {0, 0}}, 1},
		{"the emptier of two", []candidate{{1, 1}, {1, 0}}, 1},
		{"the emptier for its weight", []candidate{{10, 30}, {1, 4}}, 0},
		{"the full one is no fuller for its weight", []candidate{{10, 50}, {1, 4}}, 1},
		{"two alike", []candidate{{1, 7}, {1, 7}}, either},
		{"the fullest of three never", []candidate{{1, 9}, {1, 2}, {1, 2}}, either},
		{"the largest weights", []candidate{{maxWeight * rampFull, math.MaxInt32}, {maxWeight * rampFull, 0}}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, 2))
			for range 1000 {
				got := choose(tt.from, rnd.Uint64())
				if tt.want != either && got != tt.want {
					t.Fatalf("%d, want %d", got, tt.want)
				}
				if len(tt.from) == 3 && tt.want == either && got == 0 {
					t.Fatal("the fullest of three took a flow")
				}
			}
		})
	}
}

// TestSharesFollowTheWeights: of flows that come one after the other, and of flows that stay open.
func TestSharesFollowTheWeights(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint32Range(0, 20), 1, 10).Draw(t, "weights")
		rnd := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var sum float64
		for _, w := range weights {
			sum += float64(w)
		}
		for _, stay := range []bool{false, true} {
			const flows = 20_000
			from, got := make([]candidate, len(weights)), make([]float64, len(weights))
			for i, w := range weights {
				from[i].weight = w * rampFull
			}
			for range flows {
				i := choose(from, rnd.Uint64())
				if i < 0 {
					if sum != 0 {
						t.Fatal("nobody took a flow")
					}
					return
				}
				got[i]++
				if stay {
					from[i].open++
				}
			}
			for i, w := range weights {
				want := flows * float64(w) / sum
				if math.Abs(got[i]-want) > 6*math.Sqrt(want)+3 || w == 0 && got[i] > 0 {
					t.Fatalf("stay %v: weights %v got %v, and the one of weight %d should have %.0f", stay, weights, got, w, want)
				}
			}
		}
	})
}
