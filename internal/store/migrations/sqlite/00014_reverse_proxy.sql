-- +goose Up
CREATE TABLE reverse_proxies (
    cluster_id TEXT PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    server     TEXT NOT NULL, -- also in settings
    settings   TEXT NOT NULL,
    version    BIGINT NOT NULL
);

-- Of a cluster without a row every setting is as in link.ClientCertificates's zero value.
CREATE TABLE client_certificates (
    cluster_id TEXT PRIMARY KEY REFERENCES clusters (id) ON DELETE CASCADE,
    settings   TEXT NOT NULL
);

CREATE TABLE trusted_certificates (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    cluster_id  TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    name        TEXT NOT NULL,
    kind        TEXT NOT NULL,
    der         TEXT NOT NULL, -- base64
    fingerprint TEXT NOT NULL, -- SHA-256 of the DER, hexadecimal
    not_after   BIGINT NOT NULL,
    crl         TEXT NOT NULL, -- base64 of the DER, '' for none
    crl_number  TEXT NOT NULL,
    crl_next    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL,
    told        BIGINT NOT NULL DEFAULT 0, -- of its end: 0 nobody was, 1 that it comes, 2 that it came
    crl_told    BOOLEAN NOT NULL DEFAULT FALSE, -- somebody was told that the list is over
    UNIQUE (cluster_id, name),
    UNIQUE (cluster_id, fingerprint)
);
CREATE INDEX trusted_certificates_to_tell ON trusted_certificates (not_after) WHERE told < 2;
CREATE INDEX trusted_certificates_lists ON trusted_certificates (crl_next) WHERE crl_next > 0 AND NOT crl_told;

CREATE TABLE revoked_certificates (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    trusted_id TEXT NOT NULL REFERENCES trusted_certificates (id) ON DELETE CASCADE,
    serial     TEXT NOT NULL,
    reason     TEXT NOT NULL,
    revoked_at BIGINT NOT NULL,
    UNIQUE (trusted_id, serial)
);
CREATE INDEX revoked_certificates_by_cluster ON revoked_certificates (cluster_id, seq);

-- +goose Down
DROP TABLE revoked_certificates;
DROP TABLE trusted_certificates;
DROP TABLE client_certificates;
DROP TABLE reverse_proxies;
