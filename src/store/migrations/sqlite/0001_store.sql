-- The one row that all writers take in turn: where the ledger's chain ends, how far the fencing numbers are, and the greatest
-- `last_operation` of all pages.
CREATE TABLE head (
    id    INTEGER PRIMARY KEY,
    seq   BIGINT NOT NULL,
    hash  TEXT   NOT NULL,
    fence BIGINT NOT NULL,
    at    BIGINT NOT NULL,
    last_operation TEXT NOT NULL DEFAULT ''
);
INSERT INTO head (id, seq, hash, fence, at)
VALUES (1, 0, '0000000000000000000000000000000000000000000000000000000000000000', 0, 0);

-- Append-only; one row, a page of entries, for each commit. `lines` is what hashes cover (see `page.rs`); `at` repeats its
-- first entry's time, for searching. Operations that a page tells have no row of their own: `last_operation` is the greatest id among
-- them, null where there are none; it grows from page to page (see `untabled.rs`).
CREATE TABLE ledger (
    first_seq INTEGER PRIMARY KEY,
    at        BIGINT NOT NULL,
    prev      TEXT   NOT NULL,
    lines     TEXT   NOT NULL,
    last_operation TEXT
);
CREATE INDEX ledger_at ON ledger (at);
CREATE INDEX ledger_last_operation ON ledger (last_operation) WHERE last_operation IS NOT NULL;

-- The pages that hold entries about a record.
CREATE TABLE ledger_record (
    system    TEXT   NOT NULL,
    record    TEXT   NOT NULL,
    first_seq BIGINT NOT NULL,
    PRIMARY KEY (record, system, first_seq)
) WITHOUT ROWID;

-- `owner`, `queued`, `told`, `intent_seq`, `key` and `material` mean something while it runs.
CREATE TABLE operation (
    id         TEXT   NOT NULL PRIMARY KEY,
    owner      TEXT,
    state      TEXT   NOT NULL,
    action     TEXT   NOT NULL,
    system     TEXT   NOT NULL,
    record     TEXT,
    caller     TEXT   NOT NULL,
    queued     BIGINT NOT NULL DEFAULT 0,
    told       BIGINT NOT NULL DEFAULT 0,
    started    BIGINT NOT NULL,
    finished   BIGINT,
    intent_seq BIGINT NOT NULL DEFAULT 0,
    key        TEXT,
    material   TEXT,
    etag       TEXT,
    warnings   TEXT,
    problem    TEXT,
    observed   TEXT
) WITHOUT ROWID;
CREATE INDEX operation_record ON operation (record, system, id);
CREATE INDEX operation_running ON operation (system, record) WHERE state = 'running';
CREATE INDEX operation_unknown ON operation (system) WHERE state = 'unknown';

CREATE TABLE idempotency (
    caller      TEXT   NOT NULL,
    key         TEXT   NOT NULL,
    fingerprint BLOB   NOT NULL,
    operation   TEXT   NOT NULL,
    verdict     TEXT,
    interim     TEXT,
    expires     BIGINT NOT NULL,
    PRIMARY KEY (caller, key)
) WITHOUT ROWID;
CREATE INDEX idempotency_expires ON idempotency (expires);

CREATE TABLE lease (
    system  TEXT   NOT NULL,
    record  TEXT   NOT NULL,
    owner   TEXT   NOT NULL,
    fence   BIGINT NOT NULL,
    expires BIGINT NOT NULL,
    PRIMARY KEY (system, record)
) WITHOUT ROWID;

CREATE TABLE instance (
    id   TEXT   NOT NULL PRIMARY KEY,
    seen BIGINT NOT NULL
) WITHOUT ROWID;
