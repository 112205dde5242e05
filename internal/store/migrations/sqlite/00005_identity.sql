-- +goose Up
CREATE TABLE organisations (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version    BIGINT NOT NULL
);

-- A project's name is its organisation's to choose, so that the constraint on the name has to go, for which SQLite makes
-- the table anew. Clusters name projects throughout: that they do so rightly is looked at when all is done.
PRAGMA defer_foreign_keys = ON;
CREATE TABLE projects_before AS SELECT seq, id, name, created_at, updated_at FROM projects;
DROP TABLE projects;
CREATE TABLE projects (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    organisation_id TEXT NOT NULL, -- '': the vendor's own
    name            TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    UNIQUE (organisation_id, name)
);
INSERT INTO projects (seq, id, organisation_id, name, created_at, updated_at, version)
    SELECT seq, id, '', name, created_at, updated_at, 1 FROM projects_before ORDER BY seq;
DROP TABLE projects_before;
CREATE INDEX clusters_by_project ON clusters (project_id);

CREATE TABLE principals (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    kind            TEXT NOT NULL, -- PERSON, SERVICE_ACCOUNT
    organisation_id TEXT NOT NULL, -- of a service account; '': the vendor's own, or a person
    name            TEXT NOT NULL,
    email           TEXT NOT NULL, -- of a person, in lower case; '' of a service account
    disabled        BOOLEAN NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    version         BIGINT NOT NULL
);
CREATE UNIQUE INDEX principals_by_email ON principals (email) WHERE kind = 'PERSON';
CREATE UNIQUE INDEX principals_by_name ON principals (organisation_id, name) WHERE kind = 'SERVICE_ACCOUNT';

-- Beside the scope stands where it is, which never changes: projects and clusters do not move.
CREATE TABLE grants (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    principal_id    TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    role            TEXT NOT NULL,
    scope_kind      TEXT NOT NULL, -- INSTALLATION, ORGANISATION, PROJECT, CLUSTER
    scope_id        TEXT NOT NULL, -- '' for INSTALLATION
    organisation_id TEXT NOT NULL,
    project_id      TEXT NOT NULL,
    created_at      BIGINT NOT NULL,
    UNIQUE (principal_id, role, scope_kind, scope_id)
);
CREATE INDEX grants_by_scope ON grants (scope_kind, scope_id, seq);
CREATE INDEX grants_by_organisation ON grants (organisation_id, seq);
CREATE INDEX grants_by_project ON grants (project_id);

-- +goose Down
DROP TABLE grants;
DROP TABLE principals;
DROP INDEX clusters_by_project;
PRAGMA defer_foreign_keys = ON;
CREATE TABLE projects_before AS SELECT seq, id, name, created_at, updated_at FROM projects;
DROP TABLE projects;
CREATE TABLE projects (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
INSERT INTO projects (seq, id, name, created_at, updated_at) SELECT seq, id, name, created_at, updated_at FROM projects_before ORDER BY seq;
DROP TABLE projects_before;
DROP TABLE organisations;
