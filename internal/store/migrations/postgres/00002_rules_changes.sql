-- +goose Up

-- Every revision of the rules that changes are still known since. The tag is random: a database that was restored from a
-- backup comes to the same numbers with other rules, but not to the same tags.
CREATE TABLE rules_history (
    revision BIGINT PRIMARY KEY,
    tag      TEXT NOT NULL
);
INSERT INTO rules_history (revision, tag) SELECT revision, replace(gen_random_uuid()::text, '-', '') FROM rules_revision;

-- What changed in the rules, and in which revision last. What was removed stays here until its revision is forgotten.
CREATE TABLE rules_changes (
    kind     TEXT NOT NULL, -- CLUSTER, PROJECT, PORTS, CLAIM
    id       TEXT NOT NULL, -- '' for PORTS
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
CREATE INDEX rules_changes_by_revision ON rules_changes (revision);
CREATE INDEX rules_changes_by_kind ON rules_changes (kind, revision); -- or what changed since is looked for among all clusters

-- +goose Down
DROP TABLE rules_changes;
DROP TABLE rules_history;
