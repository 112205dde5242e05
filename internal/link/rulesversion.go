package link

// RulesVersion names one state of the rules for good. The zero value names none.
type RulesVersion struct {
	Revision int64  // grows with every change, at least 1
	Tag      string // random, drawn with the revision: after a restored backup a number may come a second time, a tag does not
}
