//! A change of the ledger behind the store's back is detected, and the first changed entry is
//! named.

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::sample::Index;
use sqlx::{AnyConnection, Connection as _, Row as _};

use super::fixtures::{TestDatabase, test_databases};
use super::samples::{all_entries_query, applied_outcome, intent};
use crate::store::verify_ledger;

const BACKUP: &str = "CREATE TABLE kept AS SELECT * FROM ledger; CREATE TABLE kept_head AS SELECT * FROM head";
const RESTORE: &str = "DELETE FROM ledger; INSERT INTO ledger SELECT * FROM kept;
                       DELETE FROM head; INSERT INTO head SELECT * FROM kept_head";

/// One change behind the store's back; indices choose among the blocks.
#[derive(Clone, Debug)]
enum Tampering {
    /// Replaces one byte of a block's lines, or of the hash before them.
    Byte {
        block: Index,
        prev: bool,
        at: Index,
        byte: u8,
    },
    Deleted(Index),
    Swapped(Index, Index),
    /// Deletes the last blocks and makes the head row match.
    Cut(Index),
}

fn tampering_strategy() -> impl Strategy<Value = Tampering> {
    let byte = (any::<Index>(), prop::bool::weighted(0.1), any::<Index>(), any::<u8>());
    prop_oneof![
        4 => byte.prop_map(|(block, prev, at, byte)| Tampering::Byte { block, prev, at, byte }),
        1 => any::<Index>().prop_map(Tampering::Deleted),
        1 => any::<(Index, Index)>().prop_map(|(one, other)| Tampering::Swapped(one, other)),
        1 => any::<Index>().prop_map(Tampering::Cut),
    ]
}

/// A block as the database holds it.
struct StoredBlock {
    first_seq: i64,
    prev: String,
    lines: String,
}

async fn load_blocks(database: &TestDatabase) -> Vec<StoredBlock> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&database.url.replace(' ', "%20")).await.expect("a connection");
    let rows = sqlx::query("SELECT first_seq, prev, lines FROM ledger ORDER BY first_seq").fetch_all(&mut connection);
    let block = |row: sqlx::any::AnyRow| StoredBlock { first_seq: row.get(0), prev: row.get(1), lines: row.get(2) };
    rows.await.expect("rows").into_iter().map(block).collect()
}

/// The statement that makes a change, and the entry that must be named (none for a cut with a
/// matching head row). `None` = nothing would change, or the database accepts no such text.
fn plan_tampering(
    database: &TestDatabase,
    blocks: &[StoredBlock],
    change: &Tampering,
) -> Option<(String, Option<i64>)> {
    let chosen = |index: &Index| index.get(blocks);
    match change {
        Tampering::Byte { block, prev, at, byte } => replace_byte(database, chosen(block), *prev, *at, *byte),
        Tampering::Deleted(block) => {
            let first_seq = chosen(block).first_seq;
            Some((format!("DELETE FROM ledger WHERE first_seq = {first_seq}"), Some(first_seq)))
        }
        Tampering::Swapped(one, other) => {
            let (one, other) = (chosen(one).first_seq, chosen(other).first_seq);
            let (one, other) = (one.min(other), one.max(other));
            let swap = format!(
                "UPDATE ledger SET first_seq = -1 WHERE first_seq = {one};
                 UPDATE ledger SET first_seq = {one} WHERE first_seq = {other};
                 UPDATE ledger SET first_seq = {other} WHERE first_seq = -1"
            );
            (one != other).then_some((swap, Some(one)))
        }
        Tampering::Cut(block) => {
            let StoredBlock { first_seq, prev, .. } = chosen(block);
            let cut = format!(
                "DELETE FROM ledger WHERE first_seq >= {first_seq}; UPDATE head SET seq = {first_seq} - 1, hash = '{prev}'"
            );
            Some((cut, None))
        }
    }
}

fn replace_byte(
    database: &TestDatabase,
    block: &StoredBlock,
    prev: bool,
    at: Index,
    byte: u8,
) -> Option<(String, Option<i64>)> {
    let (column, text) = if prev { ("prev", &block.prev) } else { ("lines", &block.lines) };
    let mut bytes = text.clone().into_bytes();
    let at = at.index(bytes.len());
    if bytes[at] == byte {
        return None;
    }
    let line = if prev { 0 } else { bytes[..at].split(|byte| *byte == b'\n').count() - 1 };
    bytes[at] = byte;
    let hex = const_hex::encode(&bytes);
    let value = if database.is_shared {
        // PostgreSQL accepts valid UTF-8 only.
        std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0'))?;
        format!("convert_from('\\x{hex}', 'UTF8')")
    } else {
        format!("CAST(x'{hex}' AS TEXT)")
    };
    let set = format!("UPDATE ledger SET {column} = {value} WHERE first_seq = {}", block.first_seq);
    Some((set, Some(block.first_seq + i64::try_from(line).expect("few lines"))))
}

/// Makes a change, verifies, and restores the ledger.
async fn assert_detected(database: &TestDatabase, blocks: &[StoredBlock], earlier_head: &str, change: &Tampering) {
    let Some((statement, wrong_seq)) = plan_tampering(database, blocks, change) else { return };
    database.execute(&statement).await;
    let report = verify_ledger(&database.url, Some(earlier_head)).await.expect("verified");
    assert!(!report.is_sound(), "{change:?} is not detected: {report:?}");
    assert_eq!(report.first_error.as_ref().map(|error| error.seq), wrong_seq, "{change:?}: {report:?}");
    if wrong_seq.is_none() {
        assert_eq!(report.head_found, Some(false), "only an earlier head reveals such a cut");
    }
    database.execute(RESTORE).await;
}

async fn assert_every_change_is_detected(database: &TestDatabase, writes: &[u8], changes: &[Tampering]) {
    let store = database.open().await;
    for together in writes {
        // Writes that begin or end together share a block.
        let begun: Vec<_> = (0..*together).map(|number| intent(&format!("A:{}", number % 3))).collect();
        let ids: Vec<_> = begun.iter().map(|write| write.operation.clone()).collect();
        join_all(begun.into_iter().map(|write| store.begin(write))).await;
        join_all(ids.iter().skip(1).map(|id| store.finish(applied_outcome(id)))).await;
    }
    let entries = store.ledger(all_entries_query()).await.expect("read").items;
    assert!(store.close(std::time::Duration::from_mins(1)).await);
    let blocks = load_blocks(database).await;
    database.execute(BACKUP).await;
    for change in changes {
        assert_detected(database, &blocks, &entries[entries.len() - 1].hash, change).await;
    }
    assert!(verify_ledger(&database.url, None).await.expect("verified").is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_tampering_is_detected_at_the_first_altered_entry(
        writes in prop::collection::vec(1_u8..5, 1..6),
        changes in prop::collection::vec(tampering_strategy(), 20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for database in test_databases().await {
                assert_every_change_is_detected(&database, &writes, &changes).await;
            }
        });
    }
}
