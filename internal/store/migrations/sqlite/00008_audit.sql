-- +goose Up
-- Rows are never changed and never removed; docs/audit.md says what they are bound by.
CREATE TABLE audit_entries (
    position        BIGINT PRIMARY KEY, -- from 1, without gaps
    at              BIGINT NOT NULL,
    organisation_id TEXT NOT NULL,      -- this and the next are in the body too; they are here to be found by
    cluster_id      TEXT NOT NULL,
    body            TEXT NOT NULL,      -- canonical JSON
    previous        TEXT NOT NULL,      -- hash of the entry before, hexadecimal; zeros for the first
    hash            TEXT NOT NULL
);
CREATE INDEX audit_entries_by_cluster ON audit_entries (cluster_id, position);
CREATE INDEX audit_entries_by_organisation ON audit_entries (organisation_id, position);
CREATE INDEX audit_entries_by_time ON audit_entries (at);

CREATE TABLE audit_checkpoints (
    position BIGINT PRIMARY KEY, -- of the entry that is signed
    note     TEXT NOT NULL
);

-- The public keys that ever signed here.
CREATE TABLE audit_keys (
    public_key TEXT PRIMARY KEY, -- base64
    added_at   BIGINT NOT NULL
);

-- +goose Down
DROP TABLE audit_keys;
DROP TABLE audit_checkpoints;
DROP TABLE audit_entries;
