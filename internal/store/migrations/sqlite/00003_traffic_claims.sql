-- +goose Up
-- Of a cluster without a row every setting is as in link.ClusterTraffic's zero value.
CREATE TABLE cluster_traffic (
    cluster_id     TEXT PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    backends       TEXT NOT NULL, -- settings by address, also of no backend that the cluster has now
    health         TEXT NOT NULL,
    proxy_protocol BOOLEAN NOT NULL,
    denied_ports   TEXT NOT NULL,
    limits         TEXT NOT NULL
);

CREATE TABLE service_ports (
    port         INTEGER PRIMARY KEY,
    protocol     TEXT NOT NULL, -- '' TLS or PostgreSQL, as the first bytes say
    traffic      TEXT NOT NULL, -- '' of no class
    denied       BOOLEAN NOT NULL,
    backend_port INTEGER NOT NULL -- 0: as the backends' addresses say
);

CREATE TABLE claims (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    cluster_id  TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    region      TEXT NOT NULL,
    domain      TEXT NOT NULL,
    hash        TEXT NOT NULL UNIQUE, -- SHA-256 of the code, hexadecimal: a random code needs no slow hash
    created_at  BIGINT NOT NULL,
    expires_at  BIGINT NOT NULL,
    revoked_at  BIGINT NOT NULL, -- 0: it was not
    used_at     BIGINT NOT NULL, -- 0: it was not
    endpoint_id TEXT NOT NULL,   -- that used it; '' while none has
    listed      BOOLEAN NOT NULL -- whether the rules name it: from its creation until it ended, in one way or another
);
CREATE INDEX claims_by_cluster ON claims (cluster_id, seq);
CREATE INDEX claims_listed ON claims (seq) WHERE listed;

CREATE INDEX trusted_owners_by_account ON trusted_owners (external_owner_id);

-- +goose Down
DROP INDEX trusted_owners_by_account;
DROP TABLE claims;
DROP TABLE service_ports;
DROP TABLE cluster_traffic;
