-- Times are milliseconds since 1970, ids of operations the 16 bytes of the UUID.

CREATE TABLE schema_version (version INTEGER NOT NULL);

-- The key that authenticates the tags of plans, made with the tables.
CREATE TABLE plan_key (key BLOB NOT NULL);

-- Append-only, one row for each entry. `entry` is the JSON that the hash covers; the other columns
-- repeat what searches need. `intent` is null in an intent, the number of the intent in its
-- outcome, the same below zero in a later verdict, and 0 in a `cut`, which belongs to no operation.
CREATE TABLE ledger (
    seq       INTEGER PRIMARY KEY,
    at        INTEGER NOT NULL,
    operation BLOB    NOT NULL,
    system    TEXT    NOT NULL,
    record    TEXT,
    intent    INTEGER,
    entry     TEXT    NOT NULL,
    hash      BLOB    NOT NULL
);
-- SQLite adds `seq` to each index.
CREATE INDEX ledger_record ON ledger (record) WHERE record IS NOT NULL;
CREATE INDEX ledger_outcome ON ledger (operation) WHERE intent IS NOT NULL;

-- Up to which entry the ledger was cut, that entry's hash, and the number of the `cut`; the last row
-- counts. What is left of these entries is being deleted.
CREATE TABLE ledger_cut (
    seq    INTEGER PRIMARY KEY,
    hash   BLOB    NOT NULL,
    marker INTEGER NOT NULL
);

-- The first entries after the clock went back by a second or more: between two of them `at` grows.
CREATE TABLE clock_step (
    seq INTEGER PRIMARY KEY,
    at  INTEGER NOT NULL
);

-- The operations that run, by the number of the intent. There are few, so a search by operation
-- may read them all.
CREATE TABLE running (
    seq           INTEGER PRIMARY KEY,
    operation     BLOB    NOT NULL,
    owner         TEXT    NOT NULL,
    system        TEXT    NOT NULL,
    record        TEXT,
    action        TEXT    NOT NULL,
    caller        TEXT    NOT NULL,
    is_async      INTEGER NOT NULL,
    key           TEXT,
    interim       INTEGER,
    first_adopted INTEGER,
    recovery      BLOB
);

-- What the ledger does not hold of an operation that has ended, by the number of the intent. Every
-- operation that was not applied has a row. `key` is kept while it is `unknown`, `recovery` until the
-- gateway knows the outcome; the members from `verdict`, the number of that entry, are of the verdict
-- that came later.
CREATE TABLE operation_detail (
    seq         INTEGER PRIMARY KEY,
    state       TEXT    NOT NULL,
    finished    INTEGER NOT NULL,
    warnings    TEXT,
    problem     TEXT,
    observed    TEXT,
    key         TEXT,
    recovery    BLOB,
    verdict     INTEGER,
    resolved_by TEXT,
    note        TEXT,
    record      TEXT,
    etag        TEXT
);
CREATE INDEX operation_detail_state ON operation_detail (state) WHERE state <> 'applied';

-- `expires` is null while the operation runs.
CREATE TABLE idempotency (
    caller      TEXT NOT NULL,
    key         TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    operation   BLOB NOT NULL,
    replay_json TEXT,
    interim     TEXT,
    expires     INTEGER,
    PRIMARY KEY (caller, key)
);
CREATE INDEX idempotency_expires ON idempotency (expires) WHERE expires IS NOT NULL;

-- One row that the writer changes to see whether the file can be written.
CREATE TABLE instance (
    id   TEXT    NOT NULL PRIMARY KEY,
    seen INTEGER NOT NULL
);

-- The token of each vendor as the replicas share it, encrypted with the system's credentials.
CREATE TABLE token (
    system TEXT  NOT NULL PRIMARY KEY,
    sealed BLOB NOT NULL
);

-- Asynchronous batches: the batch itself as item -1, then its items. `status` of the batch is 1
-- until nothing is left to do.
CREATE TABLE batch_row (
    id       TEXT    NOT NULL,
    item     INTEGER NOT NULL,
    status   INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    request  TEXT    NOT NULL,
    response TEXT,
    PRIMARY KEY (id, item)
);
CREATE INDEX batch_row_status ON batch_row (status) WHERE item = -1;
