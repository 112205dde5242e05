-- +goose Up
-- What is kept of tokens is their SHA-256, hexadecimal: a random token needs no slow hash.
CREATE TABLE api_keys (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE, -- stands in the key itself
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    name         TEXT NOT NULL,
    hash         TEXT NOT NULL,
    ceiling      TEXT NOT NULL, -- a role; '': none
    scope_kind   TEXT NOT NULL, -- '': everywhere
    scope_id     TEXT NOT NULL,
    created_by   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL, -- 0: it does not
    last_used_at BIGINT NOT NULL, -- 0: never
    revoked_at   BIGINT NOT NULL  -- 0: it was not
);
CREATE INDEX api_keys_by_principal ON api_keys (principal_id, seq);

CREATE TABLE sessions (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    hash         TEXT NOT NULL UNIQUE,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    method       TEXT NOT NULL, -- PASSWORD, OPENID
    source       TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL
);
CREATE INDEX sessions_by_principal ON sessions (principal_id, seq);
CREATE INDEX sessions_by_expiry ON sessions (expires_at);
CREATE INDEX sessions_by_use ON sessions (last_used_at);

CREATE TABLE passwords (
    principal_id TEXT PRIMARY KEY REFERENCES principals (id) ON DELETE CASCADE,
    hash         TEXT NOT NULL, -- argon2id in the PHC string format, with its parameters
    changed_at   BIGINT NOT NULL
);

-- Tokens that set a password, once.
CREATE TABLE password_resets (
    hash         TEXT PRIMARY KEY,
    principal_id TEXT NOT NULL UNIQUE REFERENCES principals (id) ON DELETE CASCADE,
    expires_at   BIGINT NOT NULL
);

-- Whom an OpenID provider's subjects are here. An issuer's subject is never another's.
CREATE TABLE subjects (
    issuer       TEXT NOT NULL,
    subject      TEXT NOT NULL,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    created_at   BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX subjects_by_principal ON subjects (principal_id);

-- Answers of OpenID providers that were used, so that none is used twice.
CREATE TABLE used_states (
    hash       TEXT PRIMARY KEY,
    expires_at BIGINT NOT NULL
);
CREATE INDEX used_states_by_expiry ON used_states (expires_at);

-- Codes that a program on somebody's own machine exchanges for a session, once.
CREATE TABLE sign_in_codes (
    hash         TEXT PRIMARY KEY,
    principal_id TEXT NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    challenge    TEXT NOT NULL, -- PKCE's, S256 (RFC 7636)
    expires_at   BIGINT NOT NULL
);
CREATE INDEX sign_in_codes_by_expiry ON sign_in_codes (expires_at);

-- +goose Down
DROP TABLE sign_in_codes;
DROP TABLE used_states;
DROP TABLE subjects;
DROP TABLE password_resets;
DROP TABLE passwords;
DROP TABLE sessions;
DROP TABLE api_keys;
