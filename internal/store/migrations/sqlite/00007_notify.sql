-- +goose Up
-- Where the object of an event stood, so that a feed can be cut down to what its reader may see. The organisation of what
-- was written before there were organisations is empty.
ALTER TABLE events ADD COLUMN organisation_id TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN project_id TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN cluster_id TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN state TEXT NOT NULL DEFAULT ''; -- that the object came to
ALTER TABLE events ADD COLUMN next_step TEXT NOT NULL DEFAULT '';
UPDATE events SET cluster_id = CASE WHEN instr(object_id, '/') > 0 THEN substr(object_id, 1, instr(object_id, '/') - 1) ELSE object_id END
    WHERE object_kind IN ('cluster', 'connection', 'trusted-owner');
UPDATE events SET project_id = object_id WHERE object_kind = 'project';
UPDATE events SET project_id = coalesce((SELECT c.project_id FROM clusters c WHERE c.id = events.cluster_id), '') WHERE cluster_id <> '';
CREATE INDEX events_by_organisation ON events (organisation_id, seq) WHERE organisation_id <> '';
CREATE INDEX events_by_project ON events (project_id, seq) WHERE project_id <> '';
CREATE INDEX events_by_cluster ON events (cluster_id, seq) WHERE cluster_id <> '';
CREATE INDEX events_by_time ON events (at);
INSERT INTO meta (name, value) SELECT 'events_dropped', CAST(coalesce(min(seq) - 1, 0) AS TEXT) FROM events; -- the newest that is not kept

CREATE TABLE webhooks (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    organisation_id TEXT NOT NULL, -- '' for the whole installation
    kind            TEXT NOT NULL,
    url             TEXT NOT NULL,
    addresses       TEXT NOT NULL,
    types           TEXT NOT NULL, -- [] for all
    project_id      TEXT NOT NULL, -- '' for any
    cluster_id      TEXT NOT NULL, -- '' for any
    description     TEXT NOT NULL,
    enabled         BOOLEAN NOT NULL,
    disabled_reason TEXT NOT NULL,
    secret          TEXT NOT NULL, -- base64; '' of mail
    secret_before   TEXT NOT NULL, -- '' when there is none
    before_until    BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    version         BIGINT NOT NULL
);
CREATE INDEX webhooks_by_organisation ON webhooks (organisation_id, seq);

CREATE TABLE deliveries (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    webhook_id TEXT NOT NULL REFERENCES webhooks (id) ON DELETE CASCADE,
    event_id   BIGINT NOT NULL,
    type       TEXT NOT NULL,
    event      TEXT NOT NULL, -- as it was written: events are kept for a shorter time
    status     TEXT NOT NULL,
    attempts   BIGINT NOT NULL,
    next_at    BIGINT NOT NULL, -- 0: it is not tried again
    last_error TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version    BIGINT NOT NULL,
    UNIQUE (webhook_id, event_id)
);
CREATE INDEX deliveries_by_webhook ON deliveries (webhook_id, status, seq);
CREATE INDEX deliveries_over ON deliveries (updated_at) WHERE status <> 'PENDING';

CREATE TABLE delivery_attempts (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_id TEXT NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    at          BIGINT NOT NULL,
    status      BIGINT NOT NULL,
    error       TEXT NOT NULL,
    took        BIGINT NOT NULL -- microseconds
);
CREATE INDEX delivery_attempts_by_delivery ON delivery_attempts (delivery_id, seq);

ALTER TABLE claims ADD COLUMN warned BOOLEAN NOT NULL DEFAULT FALSE; -- somebody was told that it is about to expire
CREATE INDEX claims_to_warn ON claims (expires_at) WHERE listed AND NOT warned;

-- +goose Down
DROP INDEX claims_to_warn;
ALTER TABLE claims DROP COLUMN warned;
DROP TABLE delivery_attempts;
DROP TABLE deliveries;
DROP TABLE webhooks;
DELETE FROM meta WHERE name = 'events_dropped';
DROP INDEX events_by_time;
DROP INDEX events_by_cluster;
DROP INDEX events_by_project;
DROP INDEX events_by_organisation;
ALTER TABLE events DROP COLUMN next_step;
ALTER TABLE events DROP COLUMN state;
ALTER TABLE events DROP COLUMN cluster_id;
ALTER TABLE events DROP COLUMN project_id;
ALTER TABLE events DROP COLUMN organisation_id;
