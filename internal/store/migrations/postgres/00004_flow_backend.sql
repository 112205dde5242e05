-- +goose Up
ALTER TABLE flows ADD COLUMN port INTEGER NOT NULL DEFAULT 0; -- as the client dialled it; 0: not known
ALTER TABLE flows ADD COLUMN backend TEXT NOT NULL DEFAULT ''; -- that took it; '' before one did

-- +goose Down
ALTER TABLE flows DROP COLUMN backend;
ALTER TABLE flows DROP COLUMN port;
