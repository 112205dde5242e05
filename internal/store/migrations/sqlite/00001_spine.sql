-- Times are unix microseconds, lists and conditions are JSON text, seq is the order of creation.

-- +goose Up
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE rules_revision (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL
);
INSERT INTO rules_revision (id, revision) VALUES (1, 1);

CREATE TABLE tokens (
    hash       TEXT PRIMARY KEY, -- SHA-256 of the token, hexadecimal: a random token needs no slow hash
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE projects (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE regions (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    provider   TEXT NOT NULL,
    name       TEXT NOT NULL,
    vpc_id     TEXT NOT NULL,
    subnet_ids TEXT NOT NULL,
    targets    TEXT NOT NULL,
    ports      TEXT NOT NULL,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, name)
);

CREATE TABLE clusters (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    project_id    TEXT NOT NULL REFERENCES projects (id),
    name          TEXT NOT NULL UNIQUE,
    provider      TEXT NOT NULL,
    regions       TEXT NOT NULL,
    backends      TEXT NOT NULL,
    public_access TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);

CREATE TABLE allow_entries (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    prefix     TEXT NOT NULL,
    ui         BOOLEAN NOT NULL,
    sql        BOOLEAN NOT NULL,
    name       TEXT NOT NULL,
    UNIQUE (cluster_id, prefix)
);

CREATE TABLE trusted_owners (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    cluster_id        TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    type              TEXT NOT NULL,
    external_owner_id TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    UNIQUE (cluster_id, type, external_owner_id)
);

CREATE TABLE services (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    provider        TEXT NOT NULL,
    region          TEXT NOT NULL,
    state           TEXT NOT NULL,
    service_id      TEXT NOT NULL,
    name            TEXT NOT NULL,
    zone_ids        TEXT NOT NULL,
    conditions      TEXT NOT NULL,
    applied_version BIGINT NOT NULL, -- version of the region that the cloud was last made to match; 0 never
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    UNIQUE (provider, region)
);

CREATE TABLE endpoints (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    provider    TEXT NOT NULL,
    region      TEXT NOT NULL,
    service_id  TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    owner_id    TEXT NOT NULL,
    state       TEXT NOT NULL,
    seen_at     BIGINT NOT NULL,
    UNIQUE (provider, endpoint_id)
);
CREATE INDEX endpoints_by_service ON endpoints (provider, service_id);
CREATE INDEX endpoints_by_owner ON endpoints (provider, owner_id);

CREATE TABLE connections (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id   TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    endpoint_id  TEXT NOT NULL,
    provider     TEXT NOT NULL,
    region       TEXT NOT NULL,
    service_id   TEXT NOT NULL,
    service_name TEXT NOT NULL,
    owner_id     TEXT NOT NULL,
    state        TEXT NOT NULL,
    want         TEXT NOT NULL,
    approved     BOOLEAN NOT NULL,
    conditions   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    UNIQUE (cluster_id, endpoint_id)
);
CREATE INDEX connections_by_endpoint ON connections (provider, endpoint_id);

CREATE TABLE gateways (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    proof_key        TEXT NOT NULL, -- base64
    applied_revision BIGINT NOT NULL,
    last_seen_at     BIGINT NOT NULL
);

CREATE TABLE report_batches (
    batch_id   TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    stored_at  BIGINT NOT NULL,
    PRIMARY KEY (gateway_id, batch_id)
);

CREATE TABLE flows (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL,
    gateway_id   TEXT NOT NULL,
    cluster_id   TEXT NOT NULL,
    listener     TEXT NOT NULL,
    endpoint_id  TEXT NOT NULL,
    source       TEXT NOT NULL,
    name         TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL, -- 0 while it lives
    bytes_in     BIGINT NOT NULL,
    bytes_out    BIGINT NOT NULL,
    close_reason TEXT NOT NULL,
    UNIQUE (gateway_id, id)
);
CREATE INDEX flows_by_cluster ON flows (cluster_id, seq);

CREATE TABLE refused_attempts (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id   TEXT NOT NULL, -- '' when the name led to no cluster
    listener     TEXT NOT NULL,
    endpoint_id  TEXT NOT NULL,
    name         TEXT NOT NULL,
    source       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    would_refuse BOOLEAN NOT NULL,
    count        BIGINT NOT NULL,
    first_at     BIGINT NOT NULL,
    last_at      BIGINT NOT NULL,
    UNIQUE (cluster_id, listener, endpoint_id, name, source, reason, would_refuse)
);

CREATE TABLE backend_health (
    cluster_id TEXT NOT NULL,
    backend    TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    healthy    BOOLEAN NOT NULL,
    reason     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, backend, gateway_id)
);

CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    object_kind TEXT NOT NULL,
    object_id   TEXT NOT NULL,
    at          BIGINT NOT NULL,
    type        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    message     TEXT NOT NULL,
    actor       TEXT NOT NULL
);
CREATE INDEX events_by_object ON events (object_kind, object_id, seq);

-- What has to be looked at. wanted grows with every change of intent, seen is the value of wanted that the last
-- finished look started from: wanted > seen is work to do, whatever became of its job.
CREATE TABLE work (
    kind         TEXT NOT NULL,
    id           TEXT NOT NULL,
    wanted       BIGINT NOT NULL,
    seen         BIGINT NOT NULL,
    next_look_at BIGINT NOT NULL, -- 0: not before somebody marks it
    failures     BIGINT NOT NULL,
    job_id       BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX work_wanted ON work (kind, id) WHERE wanted > seen;
CREATE INDEX work_next_look ON work (next_look_at) WHERE next_look_at > 0;

-- +goose Down
DROP TABLE work;
DROP TABLE events;
DROP TABLE backend_health;
DROP TABLE refused_attempts;
DROP TABLE flows;
DROP TABLE report_batches;
DROP TABLE gateways;
DROP TABLE connections;
DROP TABLE endpoints;
DROP TABLE services;
DROP TABLE trusted_owners;
DROP TABLE allow_entries;
DROP TABLE clusters;
DROP TABLE regions;
DROP TABLE projects;
DROP TABLE tokens;
DROP TABLE rules_revision;
DROP TABLE meta;
