-- +goose Up
-- The processes that work, each for as long as it says that it does: alive_until is by the database's clock.
CREATE TABLE workers (
    id          TEXT PRIMARY KEY,
    alive_until BIGINT NOT NULL
);

-- Who looks at an object now, and the number of that look: a look of an older number can write nothing any more.
ALTER TABLE work ADD COLUMN holder TEXT NOT NULL DEFAULT ''; -- of workers; empty: nobody
ALTER TABLE work ADD COLUMN fence BIGINT NOT NULL DEFAULT 0;
CREATE INDEX work_held ON work (holder) WHERE holder <> '';

-- +goose Down
DROP INDEX work_held;
ALTER TABLE work DROP COLUMN fence;
ALTER TABLE work DROP COLUMN holder;
DROP TABLE workers;
