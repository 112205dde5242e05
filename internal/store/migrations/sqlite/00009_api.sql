-- +goose Up

-- Connections that hold for every cluster of a project in one region of a provider, clusters to come among them.
CREATE TABLE project_connections (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    project_id   TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    endpoint_id  TEXT NOT NULL,
    provider     TEXT NOT NULL,
    region       TEXT NOT NULL, -- for which it was asked
    rules_id     TEXT NOT NULL, -- by which the rules name the project in this region
    service_id   TEXT NOT NULL,
    service_name TEXT NOT NULL,
    owner_id     TEXT NOT NULL,
    state        TEXT NOT NULL,
    want         TEXT NOT NULL,
    conditions   TEXT NOT NULL,
    asked_at     BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    UNIQUE (project_id, endpoint_id)
);
CREATE INDEX project_connections_by_endpoint ON project_connections (provider, endpoint_id);
CREATE INDEX project_connections_by_rules ON project_connections (rules_id);

CREATE TABLE project_trusted_owners (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    project_id        TEXT NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    type              TEXT NOT NULL,
    external_owner_id TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    UNIQUE (project_id, type, external_owner_id)
);

-- What was answered to requests that carried an idempotency key. A row is stored in the transaction of what it answers.
CREATE TABLE idempotency_keys (
    key         TEXT PRIMARY KEY, -- SHA-256 of the caller and the key, hexadecimal
    fingerprint TEXT NOT NULL,    -- SHA-256 of the request, hexadecimal
    status      INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    body        TEXT NOT NULL,    -- '' of an answer that is shown once
    created_at  BIGINT NOT NULL
);
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

-- +goose Down
DROP TABLE idempotency_keys;
DROP TABLE project_trusted_owners;
DROP TABLE project_connections;
