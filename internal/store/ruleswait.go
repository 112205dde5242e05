package store

import (
	"context"
	"time"
)

// rulesPoll is how often a waiter asks the database itself: in time another process may commit the revision.
const rulesPoll = 5 * time.Second

// WaitRules returns once there is a revision of the rules beyond after, and which it is. It is an error only that ctx
// ended or that the database cannot be read.
func (s *Store) WaitRules(ctx context.Context, after int64) (revision int64, err error) {
	poll := time.NewTicker(rulesPoll)
	defer poll.Stop()
	for {
		revision, news := s.listen()
		if revision > after {
			return revision, nil
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-news:
		case <-poll.C:
			err := s.Read(ctx, func(tx *Tx) (err error) {
				revision, err = tx.RulesRevision()
				return err
			})
			if err != nil {
				return 0, err
			}
			s.tell(revision)
		}
	}
}

// listen returns the newest revision that is known, and what is closed when there is a newer one.
func (s *Store) listen() (revision int64, news <-chan struct{}) {
	s.sources.Lock()
	defer s.sources.Unlock()
	return s.newest, s.news
}

// tell wakes everybody who waits for new rules, when revision is one.
func (s *Store) tell(revision int64) {
	s.sources.Lock()
	defer s.sources.Unlock()
	if revision > s.newest {
		s.newest = revision
		close(s.news)
		s.news = make(chan struct{})
	}
}
