-- Times are milliseconds since 1970.

CREATE TABLE schema_version (version BIGINT NOT NULL);

-- The key that authenticates the tags of plans, made with the tables.
CREATE TABLE plan_key (key BYTEA NOT NULL);

-- Append-only, one row for each entry. `entry` is the JSON that the hash covers; the other columns
-- repeat what searches need. `intent` is null in an intent, the number of the intent in its
-- outcome, the same below zero in a later verdict, and 0 in a `cut`, which belongs to no operation.
CREATE TABLE ledger (
    seq       BIGINT PRIMARY KEY,
    at        BIGINT NOT NULL,
    operation UUID   NOT NULL,
    system    TEXT   NOT NULL,
    record    TEXT,
    intent    BIGINT,
    entry     TEXT   NOT NULL,
    hash      BYTEA  NOT NULL
);
CREATE INDEX ledger_record ON ledger (record, seq) WHERE record IS NOT NULL;
CREATE INDEX ledger_outcome ON ledger (operation) WHERE intent IS NOT NULL;

-- Up to which entry the ledger was cut, that entry's hash, and the number of the `cut`; the last row
-- counts. What is left of these entries is being deleted.
CREATE TABLE ledger_cut (
    seq    BIGINT PRIMARY KEY,
    hash   BYTEA  NOT NULL,
    marker BIGINT NOT NULL
);

-- The first entries after the clock went back by a second or more: between two of them `at` grows.
CREATE TABLE clock_step (
    seq BIGINT PRIMARY KEY,
    at  BIGINT NOT NULL
);

-- The operations that run, by the number of the intent. Rows come and go with every write, so
-- vacuum comes soon.
CREATE TABLE running (
    seq           BIGINT PRIMARY KEY,
    operation     UUID   NOT NULL UNIQUE,
    owner         TEXT   NOT NULL,
    system        TEXT   NOT NULL,
    record        TEXT,
    action        TEXT   NOT NULL,
    caller        TEXT   NOT NULL,
    is_async      BIGINT NOT NULL,
    key           TEXT,
    interim       BIGINT,
    first_adopted BIGINT,
    recovery      BYTEA
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX running_record ON running (record, system) WHERE record IS NOT NULL;

-- What the ledger does not hold of an operation that has ended, by the number of the intent. Every
-- operation that was not applied has a row. `key` is kept while it is `unknown`, `recovery` until the
-- gateway knows the outcome; the members from `verdict`, the number of that entry, are of the verdict
-- that came later.
CREATE TABLE operation_detail (
    seq         BIGINT PRIMARY KEY,
    state       TEXT    NOT NULL,
    finished    BIGINT NOT NULL,
    warnings    TEXT,
    problem     TEXT,
    observed    TEXT,
    key         TEXT,
    recovery    BYTEA,
    verdict     BIGINT,
    resolved_by TEXT,
    note        TEXT,
    record      TEXT,
    etag        TEXT
);
CREATE INDEX operation_detail_state ON operation_detail (state, seq) WHERE state <> 'applied';

-- `expires` is null while the operation runs.
CREATE TABLE idempotency (
    caller      TEXT  NOT NULL,
    key         TEXT  NOT NULL,
    fingerprint BYTEA NOT NULL,
    operation   UUID  NOT NULL,
    replay_json TEXT,
    interim     TEXT,
    expires     BIGINT,
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_expires ON idempotency (expires) WHERE expires IS NOT NULL;

CREATE TABLE lease (
    system  TEXT   NOT NULL,
    record  TEXT   NOT NULL,
    owner   TEXT   NOT NULL,
    fence   BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (system, record)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
-- A batch takes as many fencing numbers at once as it may hold commands.
CREATE SEQUENCE lease_fence INCREMENT BY 1024;

-- The replicas and their last heartbeats. No index on `seen`: an update then needs no new one.
CREATE TABLE instance (
    id   TEXT   NOT NULL PRIMARY KEY,
    seen BIGINT NOT NULL
) WITH (fillfactor = 50);

-- The token of each vendor as the replicas share it, encrypted with the system's credentials.
CREATE TABLE token (
    system TEXT  NOT NULL PRIMARY KEY,
    sealed BYTEA NOT NULL
);

-- Asynchronous batches: the batch itself as item -1, then its items. `status` of the batch is 1
-- until nothing is left to do.
CREATE TABLE batch_row (
    id       TEXT    NOT NULL,
    item     BIGINT NOT NULL,
    status   BIGINT NOT NULL,
    at       BIGINT NOT NULL,
    request  TEXT    NOT NULL,
    response TEXT,
    PRIMARY KEY (id, item)
);
CREATE INDEX batch_row_status ON batch_row (status) WHERE item = -1;
