-- Operations that a page of the ledger tells have no row of their own (see `untabled.rs`). The greatest id among them; null where
-- there are none. It grows from page to page.
ALTER TABLE ledger ADD COLUMN last_operation TEXT;
CREATE INDEX ledger_last_operation ON ledger (last_operation) WHERE last_operation IS NOT NULL;

-- The greatest of all.
ALTER TABLE head ADD COLUMN last_operation TEXT NOT NULL DEFAULT '';
