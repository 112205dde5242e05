-- +goose Up
-- The clouds' token buckets as all processes share them. Tokens are thousandths.
CREATE TABLE cloud_buckets (
    name      TEXT PRIMARY KEY, -- account, provider, region and family of APIs
    tokens    BIGINT NOT NULL,
    rate      BIGINT NOT NULL,  -- tokens that come back in a second, now: less than the bucket's own after it was throttled
    at        BIGINT NOT NULL,  -- when tokens and rate were so
    slowed_at BIGINT NOT NULL   -- when the rate was last made less; 0 never
);

-- When a service's endpoints were last listed in full, and how many there were.
CREATE TABLE service_lists (
    provider   TEXT NOT NULL,
    service_id TEXT NOT NULL,
    began_at   BIGINT NOT NULL,
    endpoints  BIGINT NOT NULL,
    PRIMARY KEY (provider, service_id)
);

ALTER TABLE services ADD COLUMN gone BOOLEAN NOT NULL DEFAULT FALSE; -- its end was asked for

ALTER TABLE connections ADD COLUMN asked_at BIGINT NOT NULL DEFAULT 0; -- when it was last asked for
UPDATE connections SET asked_at = created_at;
CREATE INDEX connections_unseen ON connections (provider, cluster_id) WHERE region = '';
CREATE INDEX connections_by_region ON connections (provider, region);

-- +goose Down
DROP INDEX connections_by_region;
DROP INDEX connections_unseen;
ALTER TABLE connections DROP COLUMN asked_at;
ALTER TABLE services DROP COLUMN gone;
DROP TABLE service_lists;
DROP TABLE cloud_buckets;
