package clientcert

import (
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestExpressionEnds: no expression and name keep the server for 60 ms, whatever the engine. What is measured is the time
// that the thread computes, and the best of several tries, since the machine may be busy with something else.
func TestExpressionEnds(t *testing.T) {
	bound := 60 * time.Millisecond
	if raced {
		bound *= 10
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	long := strings.Repeat("a", MaxName-1)
	for _, tt := range []struct {
		expression, name string
		timesOut         bool
	}{
		{`(a+)+$(?=)`, long + "!", true},
		{`^(a+)+(?=@)`, long, true},
		{`(?=(a|aa)+$)a`, long + "!", true},
		{`(.*)(.*)(.*)(.*)(.*)(.*)\1\2\3\4\5\6!`, long, true},
		{`((a{0,256}){0,256}){0,256}!(?=)`, long, true},
		{`(?<=(a+)+)!`, long, false},
		{`(a+)+$`, long + "!", false},
		{`(a|aa)+$`, long + "!", false},
		{`((a{0,25}){0,4}){0,4}!`, long, false},
		{strings.Repeat(`(.|a)?`, 80) + "!", long, false},
		{strings.Repeat(`.*`, 200) + "!", long, false},
	} {
		e, mistake := CompileExpression(tt.expression)
		if mistake != nil {
			t.Fatalf("%s: %v", tt.expression, mistake)
		}
		best := time.Hour
		for range 10 {
			began := computed(t)
			user, err := e.User(tt.name)
			best = min(best, computed(t)-began)
			if (err != nil) != tt.timesOut || user != "" {
				t.Errorf("%.40s: %q, %v", tt.expression, user, err)
			}
			if err != nil && strings.Contains(err.Error(), "aaa") {
				t.Errorf("the error repeats the name: %v", err)
			}
			if best < bound {
				break
			}
		}
		if best >= bound {
			t.Errorf("%.40s takes %v at best", tt.expression, best)
		}
	}
}

// computed is how long the calling thread has computed.
func computed(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
