-- +goose Up
-- Names of customers' own that lead to a cluster, beside those that the installation gave it.
CREATE TABLE custom_names (
    name       TEXT PRIMARY KEY, -- in lower case, without a final dot
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE
);
CREATE INDEX custom_names_by_cluster ON custom_names (cluster_id);
ALTER TABLE clusters ADD COLUMN custom_names TEXT NOT NULL DEFAULT 'null'; -- the same, sorted

-- +goose Down
ALTER TABLE clusters DROP COLUMN custom_names;
DROP TABLE custom_names;
