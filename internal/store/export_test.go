package store

import "context"

// SetJobsRunningForTest leaves the job queue as a process does that is killed in the middle of all its looks, as the
// leader of the queue.
func SetJobsRunningForTest(ctx context.Context, s *Store) error {
	_, err := s.write.ExecContext(ctx, `UPDATE river_job SET state = 'running', attempt = 1, attempted_at = scheduled_at;
		INSERT INTO river_leader (elected_at, expires_at, leader_id) VALUES (datetime('now'), datetime('now', '+1 hour'), 'the dead one')`)
	return err
}
