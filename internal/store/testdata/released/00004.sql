-- What "postern up" and a few verbs left in SQLite as of migration 4, as sqlite3's .dump tells it. Never changed: it stands for
-- databases that are out there.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE goose_db_version (
		id INTEGER PRIMARY KEY AUTOINCREMENT,
		version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL,
		tstamp TIMESTAMP DEFAULT (datetime('now'))
	);
INSERT INTO goose_db_version VALUES(1,0,1,'2026-11-22 22:31:01');
INSERT INTO goose_db_version VALUES(2,1,1,'2026-11-22 22:31:01');
INSERT INTO goose_db_version VALUES(3,2,1,'2026-11-22 22:31:02');
INSERT INTO goose_db_version VALUES(4,3,1,'2026-11-22 22:31:02');
INSERT INTO goose_db_version VALUES(5,4,1,'2026-11-22 22:31:02');
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
INSERT INTO meta VALUES('installation_id','063b4239');
CREATE TABLE rules_revision (
    id       INTEGER PRIMARY KEY CHECK (id = 1),
    revision BIGINT NOT NULL
);
INSERT INTO rules_revision VALUES(1,10);
CREATE TABLE tokens (
    hash       TEXT PRIMARY KEY, -- SHA-256 of the token, hexadecimal: a random token needs no slow hash
    name       TEXT NOT NULL UNIQUE,
    role       TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
INSERT INTO tokens VALUES('1a81bf6be7ddcf9da7e5dbcf1a8a1d00a0f6d64eff98d7d6568086085422fb06','operator','operator',1795386662110493);
INSERT INTO tokens VALUES('2ea274a3c8ddd3ba2d2039911a0f3c451092e5379f4592820bd35121ee4d770a','gateway','gateway',1795386662110794);
CREATE TABLE projects (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
INSERT INTO projects VALUES(1,'eb64910c-122f-46b3-bf90-669e8ac0225b','Acme',1795386662128367,1795386662128367);
CREATE TABLE regions (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    provider   TEXT NOT NULL,
    name       TEXT NOT NULL,
    vpc_id     TEXT NOT NULL,
    subnet_ids TEXT NOT NULL,
    targets    TEXT NOT NULL,
    ports      TEXT NOT NULL,
    version    BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (provider, name)
);
INSERT INTO regions VALUES(1,'AWS','us-east-1','vpc-1ecb5ed5bcd3da6d6','["subnet-54ca22957ef83b3d4","subnet-640bba754a78188d6","subnet-f70b54d965bd9275d","subnet-76f37fafc462237bb","subnet-4135b1beb45194a77","subnet-96f5e15b6fc53c46a"]','["127.0.0.1:34791"]','[443]',1,1795386662127088,1795386662127088);
CREATE TABLE clusters (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,
    project_id    TEXT NOT NULL REFERENCES projects (id),
    name          TEXT NOT NULL UNIQUE,
    provider      TEXT NOT NULL,
    regions       TEXT NOT NULL,
    backends      TEXT NOT NULL,
    public_access TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    updated_at    BIGINT NOT NULL
);
INSERT INTO clusters VALUES(1,'865b98c8-88ab-4503-8e70-50ba65ddaf3b','eb64910c-122f-46b3-bf90-669e8ac0225b','acme','AWS','[{"Name":"us-east-1","PublicName":"acme.us-east-1.postern.test","PrivateName":"acme.us-east-1.pe.postern.test"}]','["127.0.0.1:34409"]','DISABLED',1795386662130076,1795386662971780);
CREATE TABLE allow_entries (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    prefix     TEXT NOT NULL,
    ui         BOOLEAN NOT NULL,
    sql        BOOLEAN NOT NULL,
    name       TEXT NOT NULL,
    UNIQUE (cluster_id, prefix)
);
INSERT INTO allow_entries VALUES(1,'865b98c8-88ab-4503-8e70-50ba65ddaf3b','0.0.0.0/0',1,1,'everyone');
INSERT INTO allow_entries VALUES(2,'865b98c8-88ab-4503-8e70-50ba65ddaf3b','::/0',1,1,'everyone');
INSERT INTO allow_entries VALUES(3,'865b98c8-88ab-4503-8e70-50ba65ddaf3b','203.0.113.0/24',1,1,'office');
CREATE TABLE trusted_owners (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT NOT NULL UNIQUE,
    cluster_id        TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    type              TEXT NOT NULL,
    external_owner_id TEXT NOT NULL,
    created_at        BIGINT NOT NULL,
    UNIQUE (cluster_id, type, external_owner_id)
);
INSERT INTO trusted_owners VALUES(1,'e13776ba-ddfe-4332-940a-47f73056a6e8','865b98c8-88ab-4503-8e70-50ba65ddaf3b','AWS_ACCOUNT_ID','222222222222',1795386662892766);
CREATE TABLE services (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    provider        TEXT NOT NULL,
    region          TEXT NOT NULL,
    state           TEXT NOT NULL,
    service_id      TEXT NOT NULL,
    name            TEXT NOT NULL,
    zone_ids        TEXT NOT NULL,
    conditions      TEXT NOT NULL,
    applied_version BIGINT NOT NULL, -- version of the region that the cloud was last made to match; 0 never
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    version         BIGINT NOT NULL,
    UNIQUE (provider, region)
);
INSERT INTO services VALUES(1,'AWS','us-east-1','AVAILABLE','vpce-svc-be79255e5b9fa964c','com.amazonaws.vpce.us-east-1.vpce-svc-be79255e5b9fa964c','["use1-az1","use1-az2","use1-az3","use1-az4","use1-az5","use1-az6"]','[{"Type":"Provisioned","Status":"True","Reason":"PROVISIONED","Message":"the load balancer and the endpoint service stand","NextStep":"","LastTransition":"2026-11-22T22:31:02.727424Z"},{"Type":"Reachable","Status":"True","Reason":"GATEWAY_HEALTHY","Message":"the load balancer reaches a gateway","NextStep":"","LastTransition":"2026-11-22T22:31:02.579219Z"},{"Type":"DNSReady","Status":"Unknown","Reason":"PRIVATE_DNS_UNVERIFIED","Message":"the cloud has not verified the private DNS name *.us-east-1.pe.postern.test; private hosted zones work without it","NextStep":"the private DNS name *.us-east-1.pe.postern.test is not verified: publish the TXT record _u237j4ze9uu4om28w1kv.us-east-1.pe.postern.test with the text \"vpce:b2ScIOh1zwGdcKSk3mdw\" in public DNS","LastTransition":"2026-11-22T22:31:02.274538Z"}]',1,1795386662133422,1795386662727524,5);
CREATE TABLE endpoints (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    provider    TEXT NOT NULL,
    region      TEXT NOT NULL,
    service_id  TEXT NOT NULL,
    endpoint_id TEXT NOT NULL,
    owner_id    TEXT NOT NULL,
    state       TEXT NOT NULL,
    seen_at     BIGINT NOT NULL,
    UNIQUE (provider, endpoint_id)
);
INSERT INTO endpoints VALUES(1,'AWS','us-east-1','vpce-svc-be79255e5b9fa964c','vpce-53f180d8c579ad7ce','222222222222','AVAILABLE',1795386663671181);
CREATE TABLE connections (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id   TEXT NOT NULL REFERENCES clusters (id) ON DELETE CASCADE,
    endpoint_id  TEXT NOT NULL,
    provider     TEXT NOT NULL,
    region       TEXT NOT NULL,
    service_id   TEXT NOT NULL,
    service_name TEXT NOT NULL,
    owner_id     TEXT NOT NULL,
    state        TEXT NOT NULL,
    want         TEXT NOT NULL,
    approved     BOOLEAN NOT NULL,
    conditions   TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    updated_at   BIGINT NOT NULL,
    version      BIGINT NOT NULL,
    UNIQUE (cluster_id, endpoint_id)
);
INSERT INTO connections VALUES(1,'865b98c8-88ab-4503-8e70-50ba65ddaf3b','vpce-53f180d8c579ad7ce','AWS','us-east-1','vpce-svc-be79255e5b9fa964c','com.amazonaws.vpce.us-east-1.vpce-svc-be79255e5b9fa964c','222222222222','AVAILABLE','CONNECTED',0,'[{"Type":"Registered","Status":"True","Reason":"ENDPOINT_SEEN","Message":"the endpoint of account 222222222222 asks for the service in us-east-1","NextStep":"","LastTransition":"2026-11-22T22:31:03.05819Z"},{"Type":"Accepted","Status":"True","Reason":"OWNER_TRUSTED","Message":"owner 222222222222 is trusted","NextStep":"","LastTransition":"2026-11-22T22:31:03.05819Z"},{"Type":"DNSReady","Status":"True","Reason":"FLOW_SEEN","Message":"a flow for the private name came through this endpoint","NextStep":"","LastTransition":"2026-11-22T22:31:04.552068Z"},{"Type":"Reachable","Status":"True","Reason":"FLOW_SEEN","Message":"a flow came through this endpoint","NextStep":"","LastTransition":"2026-11-22T22:31:04.552068Z"}]',1795386663025035,1795386664552068,4);
CREATE TABLE gateways (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    proof_key        TEXT NOT NULL, -- base64
    applied_revision BIGINT NOT NULL,
    last_seen_at     BIGINT NOT NULL
);
INSERT INTO gateways VALUES(1,'gateway-1','YEHu2+bn02552jQFQdP+wA8VMMO7ORWjPzsOFh7/hpo=',10,1795386664552068);
CREATE TABLE report_batches (
    batch_id   TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    stored_at  BIGINT NOT NULL,
    PRIMARY KEY (gateway_id, batch_id)
);
INSERT INTO report_batches VALUES('9d3ca84c-980c-4e0e-b7b5-a54391a1ac28','gateway-1',1795386664552068);
CREATE TABLE flows (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL,
    gateway_id   TEXT NOT NULL,
    cluster_id   TEXT NOT NULL,
    listener     TEXT NOT NULL,
    endpoint_id  TEXT NOT NULL,
    source       TEXT NOT NULL,
    name         TEXT NOT NULL,
    started_at   BIGINT NOT NULL,
    ended_at     BIGINT NOT NULL, -- 0 while it lives
    bytes_in     BIGINT NOT NULL,
    bytes_out    BIGINT NOT NULL,
    close_reason TEXT NOT NULL, port INTEGER NOT NULL DEFAULT 0, backend TEXT NOT NULL DEFAULT '',
    UNIQUE (gateway_id, id)
);
INSERT INTO flows VALUES(1,'2158bdee-1d68-4d4c-9931-92ddc32892ed','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32776','acme.us-east-1.pe.postern.test',1795386664413952,1795386664432492,1743,2188,'SERVER_CLOSED',443,'127.0.0.1:34409');
INSERT INTO flows VALUES(2,'a90c4541-c7ac-45fa-b063-dd60ed36dcb9','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32775','proof.acme.us-east-1.pe.postern.test',1795386664416930,1795386664432316,1794,2407,'PROOF_DONE',443,'');
INSERT INTO flows VALUES(3,'7b01bffa-f75e-42ab-8acb-a1eacbc739a3','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32779','proof.acme.us-east-1.pe.postern.test',1795386664426494,1795386664432215,1794,2408,'PROOF_DONE',443,'');
INSERT INTO flows VALUES(4,'a20dd089-37af-422f-a5e8-3e841c7a21d5','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32769','acme.us-east-1.pe.postern.test',1795386664408709,1795386664432577,1743,2188,'SERVER_CLOSED',443,'127.0.0.1:34409');
INSERT INTO flows VALUES(5,'c49e9c0f-9e50-4efe-a69f-1a3fbf4af936','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32771','acme.us-east-1.pe.postern.test',1795386664410380,1795386664433308,1743,2189,'SERVER_CLOSED',443,'127.0.0.1:34409');
INSERT INTO flows VALUES(6,'f790f45e-0896-414d-b938-e05e5ffcea24','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32774','proof.acme.us-east-1.pe.postern.test',1795386664410412,1795386664412430,1794,2408,'PROOF_DONE',443,'');
INSERT INTO flows VALUES(7,'2c3b74a4-8b67-4151-a6dc-3132fe51f589','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32770','acme.us-east-1.pe.postern.test',1795386664414462,1795386664429339,1743,2189,'SERVER_CLOSED',443,'127.0.0.1:34409');
INSERT INTO flows VALUES(8,'a8a9aff6-8ebd-4290-9924-f22dbce41b40','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32773','acme.us-east-1.pe.postern.test',1795386664414490,1795386664432547,1743,2188,'SERVER_CLOSED',443,'127.0.0.1:34409');
INSERT INTO flows VALUES(9,'efae8415-080e-4ed6-ae5c-1501b9d95ca2','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32772','acme.us-east-1.pe.postern.test',1795386664414510,1795386664432533,1743,2189,'SERVER_CLOSED',443,'127.0.0.1:34409');
INSERT INTO flows VALUES(10,'438f35d1-76e5-4178-86ce-d0e2618b75e7','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32777','proof.acme.us-east-1.pe.postern.test',1795386664414528,1795386664416308,1794,2407,'PROOF_DONE',443,'');
INSERT INTO flows VALUES(11,'c796f5c7-cf62-4e1c-9613-f1a9640e9171','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32778','proof.acme.us-east-1.pe.postern.test',1795386664414555,1795386664420553,1794,2408,'PROOF_DONE',443,'');
INSERT INTO flows VALUES(12,'19d83397-a3e9-41c4-8e13-875c3432cc12','gateway-1','865b98c8-88ab-4503-8e70-50ba65ddaf3b','private','vpce-53f180d8c579ad7ce','10.16.0.4:32780','proof.acme.us-east-1.pe.postern.test',1795386664427753,1795386664432421,1794,2408,'PROOF_DONE',443,'');
CREATE TABLE refused_attempts (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    cluster_id   TEXT NOT NULL, -- '' when the name led to no cluster
    listener     TEXT NOT NULL,
    endpoint_id  TEXT NOT NULL,
    name         TEXT NOT NULL,
    source       TEXT NOT NULL,
    reason       TEXT NOT NULL,
    would_refuse BOOLEAN NOT NULL,
    count        BIGINT NOT NULL,
    first_at     BIGINT NOT NULL,
    last_at      BIGINT NOT NULL,
    UNIQUE (cluster_id, listener, endpoint_id, name, source, reason, would_refuse)
);
CREATE TABLE backend_health (
    cluster_id TEXT NOT NULL,
    backend    TEXT NOT NULL,
    gateway_id TEXT NOT NULL,
    healthy    BOOLEAN NOT NULL,
    reason     TEXT NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (cluster_id, backend, gateway_id)
);
INSERT INTO backend_health VALUES('865b98c8-88ab-4503-8e70-50ba65ddaf3b','127.0.0.1:34409','gateway-1',1,'',1795386664408868);
CREATE TABLE events (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    object_kind TEXT NOT NULL,
    object_id   TEXT NOT NULL,
    at          BIGINT NOT NULL,
    type        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    message     TEXT NOT NULL,
    actor       TEXT NOT NULL
);
INSERT INTO events VALUES(1,'region','AWS/us-east-1',1795386662127088,'CREATED','','region us-east-1 of AWS was added','operator');
INSERT INTO events VALUES(2,'project','eb64910c-122f-46b3-bf90-669e8ac0225b',1795386662128367,'CREATED','','project Acme was created','operator');
INSERT INTO events VALUES(3,'cluster','865b98c8-88ab-4503-8e70-50ba65ddaf3b',1795386662130076,'CREATED','','cluster acme was created in us-east-1','operator');
INSERT INTO events VALUES(4,'cluster','865b98c8-88ab-4503-8e70-50ba65ddaf3b',1795386662132282,'CHANGED','BACKENDS','the backends are now 127.0.0.1:34409','operator');
INSERT INTO events VALUES(5,'service','AWS/us-east-1',1795386662133422,'CREATED','','the service of us-east-1 was asked for','operator');
INSERT INTO events VALUES(6,'service','AWS/us-east-1',1795386662727524,'STATE_CHANGED','PROVISIONED','CREATING → AVAILABLE: the load balancer and the endpoint service stand','reconciler');
INSERT INTO events VALUES(7,'service','AWS/us-east-1',1795386662727524,'PROVISIONED','PROVISIONED','the load balancer and the endpoint service stand','reconciler');
INSERT INTO events VALUES(8,'trusted-owner','865b98c8-88ab-4503-8e70-50ba65ddaf3b/e13776ba-ddfe-4332-940a-47f73056a6e8',1795386662892766,'CREATED','','account 222222222222 is trusted','operator');
INSERT INTO events VALUES(9,'cluster','865b98c8-88ab-4503-8e70-50ba65ddaf3b',1795386662892766,'CHANGED','TRUSTED_OWNERS','account 222222222222 is trusted','operator');
INSERT INTO events VALUES(10,'cluster','865b98c8-88ab-4503-8e70-50ba65ddaf3b',1795386662951826,'CHANGED','ALLOWLIST','203.0.113.0/24 is on the allow list: ui true, sql true','operator');
INSERT INTO events VALUES(11,'cluster','865b98c8-88ab-4503-8e70-50ba65ddaf3b',1795386662971780,'CHANGED','PUBLIC_ACCESS','public access went from ENABLED to DISABLED','operator');
INSERT INTO events VALUES(12,'connection','865b98c8-88ab-4503-8e70-50ba65ddaf3b/vpce-53f180d8c579ad7ce',1795386663025035,'CONNECTED','','a connection of vpce-53f180d8c579ad7ce was asked for','operator');
INSERT INTO events VALUES(13,'connection','865b98c8-88ab-4503-8e70-50ba65ddaf3b/vpce-53f180d8c579ad7ce',1795386663058221,'ACCEPTED','OWNER_TRUSTED','owner 222222222222 is trusted','reconciler');
INSERT INTO events VALUES(14,'connection','865b98c8-88ab-4503-8e70-50ba65ddaf3b/vpce-53f180d8c579ad7ce',1795386663673282,'STATE_CHANGED','OWNER_TRUSTED','PENDING → AVAILABLE: owner 222222222222 is trusted','reconciler');
INSERT INTO events VALUES(15,'cluster','865b98c8-88ab-4503-8e70-50ba65ddaf3b',1795386664454290,'CHANGED','CLAIM_CREATED','claim 7553abe8-106e-4618-bc56-1827f11d0002 was made: until 2026-11-22T23:31:04Z its code approves one endpoint in us-east-1','operator');
CREATE TABLE work (
    kind         TEXT NOT NULL,
    id           TEXT NOT NULL,
    wanted       BIGINT NOT NULL,
    seen         BIGINT NOT NULL,
    next_look_at BIGINT NOT NULL, -- 0: not before somebody marks it
    failures     BIGINT NOT NULL,
    job_id       BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
INSERT INTO work VALUES('service','AWS/us-east-1',1,1,1795386664706258,0,1);
INSERT INTO work VALUES('endpoint','AWS/vpce-53f180d8c579ad7ce',1,1,0,0,2);
CREATE TABLE rules_history (
    revision BIGINT PRIMARY KEY,
    tag      TEXT NOT NULL
);
INSERT INTO rules_history VALUES(1,'cb5688adf27fa0805b569dee64a82339');
INSERT INTO rules_history VALUES(2,'efb0e16e-995d-4b04-b03a-388e06afb840');
INSERT INTO rules_history VALUES(3,'26eac12e-b8b9-411c-a78d-807a33d4b28f');
INSERT INTO rules_history VALUES(4,'969cc451-e253-4120-a8e0-e1958a9c4efa');
INSERT INTO rules_history VALUES(5,'76c0c019-eb85-4ac7-862d-122b07b60aaf');
INSERT INTO rules_history VALUES(6,'f288cc1d-54f1-47c7-a885-0d25d87240e3');
INSERT INTO rules_history VALUES(7,'26b35642-4978-4bb8-9f2c-7b0ce52a421e');
INSERT INTO rules_history VALUES(8,'758f54cb-b7a6-4a93-bb4b-5239a7f7b830');
INSERT INTO rules_history VALUES(9,'ddb65adc-d01c-4965-8798-8d5f62bcb196');
INSERT INTO rules_history VALUES(10,'13ddc415-5a82-4f0c-81e7-6f2194eb073f');
CREATE TABLE rules_changes (
    kind     TEXT NOT NULL, -- CLUSTER, PROJECT, PORTS, CLAIM
    id       TEXT NOT NULL, -- '' for PORTS
    revision BIGINT NOT NULL,
    PRIMARY KEY (kind, id)
);
INSERT INTO rules_changes VALUES('CLUSTER','865b98c8-88ab-4503-8e70-50ba65ddaf3b',9);
INSERT INTO rules_changes VALUES('CLAIM','7553abe8-106e-4618-bc56-1827f11d0002',10);
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
INSERT INTO claims VALUES(1,'7553abe8-106e-4618-bc56-1827f11d0002','865b98c8-88ab-4503-8e70-50ba65ddaf3b','us-east-1','us-east-1.pe.postern.test','e98e6824f3014da241b619da38e8454e73a24c95114d19afc110dbf1d2c50481',1795386664454290,1795390264454290,0,0,'',1);
CREATE TABLE river_leader (
    elected_at timestamp NOT NULL,
    expires_at timestamp NOT NULL,
    leader_id text NOT NULL,
    name text PRIMARY KEY NOT NULL DEFAULT 'default' CHECK (name = 'default'),
    CONSTRAINT name_length CHECK (length(name) > 0 AND length(name) < 128),
    CONSTRAINT leader_id_length CHECK (length(leader_id) > 0 AND length(leader_id) < 128)
);
CREATE TABLE river_migration (
    line text NOT NULL,
    version integer NOT NULL,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    CONSTRAINT line_length CHECK (length(line) > 0 AND length(line) < 128),
    CONSTRAINT version_gte_1 CHECK (version >= 1),
    PRIMARY KEY (line, version)
);
INSERT INTO river_migration VALUES('main',1,'2026-11-22 22:31:02');
INSERT INTO river_migration VALUES('main',2,'2026-11-22 22:31:02');
INSERT INTO river_migration VALUES('main',3,'2026-11-22 22:31:02');
INSERT INTO river_migration VALUES('main',4,'2026-11-22 22:31:02');
INSERT INTO river_migration VALUES('main',5,'2026-11-22 22:31:02');
INSERT INTO river_migration VALUES('main',6,'2026-11-22 22:31:02');
INSERT INTO river_migration VALUES('main',7,'2026-11-22 22:31:02');
CREATE TABLE river_notification (
    id integer PRIMARY KEY AUTOINCREMENT,
    created_at timestamp NOT NULL DEFAULT (datetime('now', 'subsec')),
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT topic_length CHECK (length(topic) > 0 AND length(topic) < 128)
);
INSERT INTO river_notification VALUES(1,'2026-11-22 22:31:02.134','{"queue": "default"}','river_insert');
INSERT INTO river_notification VALUES(2,'2026-11-22 22:31:03.026','{"queue": "default"}','river_insert');
CREATE TABLE river_job (
    id integer PRIMARY KEY, -- SQLite makes this autoincrementing automatically
    args blob NOT NULL DEFAULT (jsonb('{}')),
    attempt integer NOT NULL DEFAULT 0,
    attempted_at timestamp,
    attempted_by blob, -- json
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    errors blob, -- json
    finalized_at timestamp,
    kind text NOT NULL,
    metadata blob NOT NULL DEFAULT (jsonb('{}')),
    priority integer NOT NULL DEFAULT 1,
    queue text NOT NULL DEFAULT 'default',
    state text NOT NULL DEFAULT 'available',
    scheduled_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    tags blob NOT NULL DEFAULT (jsonb('[]')),
    unique_key blob,
    unique_states integer, max_attempts integer NOT NULL DEFAULT 25,
    CONSTRAINT finalized_or_finalized_at_null CHECK (
        (finalized_at IS NULL AND state NOT IN ('cancelled', 'completed', 'discarded')) OR
        (finalized_at IS NOT NULL AND state IN ('cancelled', 'completed', 'discarded'))
    ),
    CONSTRAINT priority_in_range CHECK (priority >= 1 AND priority <= 4),
    CONSTRAINT queue_length CHECK (length(queue) > 0 AND length(queue) < 128),
    CONSTRAINT kind_length CHECK (length(kind) > 0 AND length(kind) < 128),
    CONSTRAINT state_valid CHECK (state IN ('available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled'))
);
INSERT INTO river_job VALUES(1,X'cc1d276f667773657276696365276964c70d4157532f75732d656173742d31',0,'2026-11-22 22:31:02.560',X'cb3ec71d766d5f323032365f31315f32325432325f33315f30325f313131383636c71d766d5f323032365f31315f32325432325f33315f30325f313131383636','2026-11-22 22:31:02.134',NULL,NULL,'look',X'cc30c71272697665723a756e697175655f6e6f6e6365c7106661356565356334643331313532646177736e6f6f7a65731332',1,'default','available','2026-11-22 22:31:04.707',X'0b',X'295b471a149c4e821f6b34021fe80f48045282ce75b0dea45ce1b3d9351793ff',241,1000);
INSERT INTO river_job VALUES(2,X'cc2b276f6687656e64706f696e74276964c71a4157532f767063652d3533663138306438633537396164376365',1,'2026-11-22 22:31:03.669',X'cb7cc71d766d5f323032365f31315f32325432325f33315f30325f313131383636c71d766d5f323032365f31315f32325432325f33315f30325f313131383636c71d766d5f323032365f31315f32325432325f33315f30325f313131383636ca1d766d5f323032365f31315f32325432325f33315f30325f313131383636','2026-11-22 22:31:03.026',NULL,'2026-11-22 22:31:03.676','look',X'cc30c71272697665723a756e697175655f6e6f6e6365c7103833623837393336383632623836383377736e6f6f7a65731333',1,'default','completed','2026-11-22 22:31:03.656',X'0b',X'70b439f2d2877000798713472de2a10eb64de06f7c2636e09bdf2375a2a02983',241,1000);
CREATE TABLE river_queue (
    name text PRIMARY KEY NOT NULL,
    created_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
    metadata blob NOT NULL DEFAULT (jsonb('{}')),
    paused_at timestamp,
    updated_at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP
);
INSERT INTO river_queue VALUES('default','2026-11-22 22:31:02.112',X'0c',NULL,'2026-11-22 22:31:02.112');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('goose_db_version',5);
INSERT INTO sqlite_sequence VALUES('regions',1);
INSERT INTO sqlite_sequence VALUES('events',15);
INSERT INTO sqlite_sequence VALUES('gateways',1);
INSERT INTO sqlite_sequence VALUES('projects',1);
INSERT INTO sqlite_sequence VALUES('clusters',1);
INSERT INTO sqlite_sequence VALUES('allow_entries',3);
INSERT INTO sqlite_sequence VALUES('services',1);
INSERT INTO sqlite_sequence VALUES('river_notification',2);
INSERT INTO sqlite_sequence VALUES('trusted_owners',1);
INSERT INTO sqlite_sequence VALUES('connections',1);
INSERT INTO sqlite_sequence VALUES('endpoints',2);
INSERT INTO sqlite_sequence VALUES('claims',1);
INSERT INTO sqlite_sequence VALUES('flows',12);
CREATE INDEX endpoints_by_service ON endpoints (provider, service_id);
CREATE INDEX endpoints_by_owner ON endpoints (provider, owner_id);
CREATE INDEX connections_by_endpoint ON connections (provider, endpoint_id);
CREATE INDEX flows_by_cluster ON flows (cluster_id, seq);
CREATE INDEX events_by_object ON events (object_kind, object_id, seq);
CREATE INDEX work_wanted ON work (kind, id) WHERE wanted > seen;
CREATE INDEX work_next_look ON work (next_look_at) WHERE next_look_at > 0;
CREATE INDEX rules_changes_by_revision ON rules_changes (revision);
CREATE INDEX rules_changes_by_kind ON rules_changes (kind, revision);
CREATE INDEX claims_by_cluster ON claims (cluster_id, seq);
CREATE INDEX claims_listed ON claims (seq) WHERE listed;
CREATE INDEX trusted_owners_by_account ON trusted_owners (external_owner_id);
CREATE INDEX river_notification_created_at_idx ON river_notification (created_at);
CREATE INDEX river_notification_topic_id_idx ON river_notification (topic, id);
CREATE INDEX river_job_kind ON river_job (kind);
CREATE INDEX river_job_state_and_finalized_at_index ON river_job (state, finalized_at) WHERE finalized_at IS NOT NULL;
CREATE INDEX river_job_prioritized_fetching_index ON river_job (state, queue, priority, scheduled_at, id);
CREATE UNIQUE INDEX river_job_unique_idx ON river_job (unique_key)
    WHERE unique_key IS NOT NULL
        AND unique_states IS NOT NULL
        AND CASE state
            WHEN 'available' THEN unique_states & (1 << 0)
            WHEN 'cancelled' THEN unique_states & (1 << 1)
            WHEN 'completed' THEN unique_states & (1 << 2)
            WHEN 'discarded' THEN unique_states & (1 << 3)
            WHEN 'pending'   THEN unique_states & (1 << 4)
            WHEN 'retryable' THEN unique_states & (1 << 5)
            WHEN 'running'   THEN unique_states & (1 << 6)
            WHEN 'scheduled' THEN unique_states & (1 << 7)
            ELSE 0
        END >= 1;
COMMIT;
