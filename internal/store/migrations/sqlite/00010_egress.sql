-- +goose Up

-- The vendor's endpoints to services of customers. They outlive their cluster until the cloud is clean, so nothing is
-- referenced.
CREATE TABLE egress_endpoints (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    cluster_id   TEXT NOT NULL,
    provider     TEXT NOT NULL,
    region       TEXT NOT NULL,
    target       TEXT NOT NULL, -- name of the customer's service
    target_type  TEXT NOT NULL,
    endpoint_id  TEXT NOT NULL, -- '' while the cloud has none
    address      TEXT NOT NULL,
    state        TEXT NOT NULL,
    want         TEXT NOT NULL,
    domain_names TEXT NOT NULL,
    made_names   TEXT NOT NULL, -- that may stand at the cloud, wanted or not
    names_state  TEXT NOT NULL, -- '' without domain names
    conditions   TEXT NOT NULL,
    requested_at BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL
);
CREATE INDEX egress_endpoints_by_cluster ON egress_endpoints (cluster_id, seq);
CREATE INDEX egress_endpoints_by_region ON egress_endpoints (provider, region);
-- A cluster has one endpoint to a service, beside those that are on their way out.
CREATE UNIQUE INDEX egress_endpoints_once ON egress_endpoints (cluster_id, region, target) WHERE want <> 'GONE';

-- In whose name the endpoints of a region are made, as the cloud says.
CREATE TABLE egress_accounts (
    provider   TEXT NOT NULL,
    region     TEXT NOT NULL,
    account_id TEXT NOT NULL,
    PRIMARY KEY (provider, region)
);

-- +goose Down
DROP TABLE egress_accounts;
DROP TABLE egress_endpoints;
