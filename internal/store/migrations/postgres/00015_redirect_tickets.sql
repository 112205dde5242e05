-- +goose Up
-- What a cluster's gateways seal redirects with, 32 bytes in hexadecimal; '' unless they rewrite them.
ALTER TABLE reverse_proxies ADD COLUMN ticket_key TEXT NOT NULL DEFAULT '';
UPDATE reverse_proxies SET ticket_key = encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'hex')
WHERE settings LIKE '%"Redirects":{"Mode":"REWRITE"%';

-- +goose Down
ALTER TABLE reverse_proxies DROP COLUMN ticket_key;
