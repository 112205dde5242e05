-- +goose Up
ALTER TABLE api_keys ADD COLUMN told BIGINT NOT NULL DEFAULT 0; -- of its end: 0 nobody was, 1 that it comes, 2 that it came
CREATE INDEX api_keys_to_tell ON api_keys (expires_at) WHERE expires_at > 0 AND revoked_at = 0 AND told < 2;

-- +goose Down
DROP INDEX api_keys_to_tell;
ALTER TABLE api_keys DROP COLUMN told;
