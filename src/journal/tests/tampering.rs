//! A change of the ledger behind the store's back is detected, and the first changed entry is
//! named.

use super::fixtures::{TestDatabase, test_databases};
use super::samples::{all_entries_query, applied_outcome, intent};
use crate::journal::verify_ledger;
use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::sample::Index;

const BACKUP: &str = "CREATE TABLE kept AS SELECT * FROM ledger";
const RESTORE: &str = "DELETE FROM ledger; INSERT INTO ledger SELECT * FROM kept";

/// One change behind the journal's back; indices choose among the entries.
#[derive(Clone, Debug)]
enum Tampering {
    /// Replaces one byte of an entry's JSON.
    Byte {
        entry: Index,
        at: Index,
        byte: u8,
    },
    Deleted(Index),
    Swapped(Index, Index),
    /// Deletes the last entries.
    Cut(Index),
}

fn tampering_strategy() -> impl Strategy<Value = Tampering> {
    let byte = (any::<Index>(), any::<Index>(), any::<u8>());
    prop_oneof![
        4 => byte.prop_map(|(entry, at, byte)| Tampering::Byte { entry, at, byte }),
        1 => any::<Index>().prop_map(Tampering::Deleted),
        1 => any::<(Index, Index)>().prop_map(|(one, other)| Tampering::Swapped(one, other)),
        1 => any::<Index>().prop_map(Tampering::Cut),
    ]
}

/// The statement that makes a change, and the entry that must be named (none for a cut). `None` =
/// nothing would change, or the database accepts no such text.
async fn plan_tampering(database: &TestDatabase, entries: usize, change: &Tampering) -> Option<(String, Option<i64>)> {
    let chosen = |index: &Index| i64::try_from(index.index(entries)).expect("few entries") + 1;
    let last = i64::try_from(entries).expect("few entries");
    match change {
        Tampering::Byte { entry, at, byte } => replace_byte(database, chosen(entry), *at, *byte).await,
        Tampering::Deleted(entry) => {
            let seq = chosen(entry);
            Some((format!("DELETE FROM ledger WHERE seq = {seq}"), Some(seq).filter(|seq| *seq != last)))
        }
        Tampering::Swapped(one, other) => {
            let (one, other) = (chosen(one), chosen(other));
            let (one, other) = (one.min(other), one.max(other));
            let swap = format!(
                "UPDATE ledger SET seq = -1 WHERE seq = {one};
                 UPDATE ledger SET seq = {one} WHERE seq = {other};
                 UPDATE ledger SET seq = {other} WHERE seq = -1"
            );
            (one != other).then_some((swap, Some(one)))
        }
        Tampering::Cut(entry) => Some((format!("DELETE FROM ledger WHERE seq >= {}", chosen(entry)), None)),
    }
}

async fn replace_byte(database: &TestDatabase, seq: i64, at: Index, byte: u8) -> Option<(String, Option<i64>)> {
    let mut bytes = database.query(&format!("SELECT entry FROM ledger WHERE seq = {seq}")).await.into_bytes();
    let at = at.index(bytes.len());
    if bytes[at] == byte {
        return None;
    }
    bytes[at] = byte;
    let hex = const_hex::encode(&bytes);
    let value = if database.is_shared {
        // PostgreSQL accepts valid UTF-8 only.
        std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0'))?;
        format!("convert_from('\\x{hex}', 'UTF8')")
    } else {
        format!("CAST(x'{hex}' AS TEXT)")
    };
    Some((format!("UPDATE ledger SET entry = {value} WHERE seq = {seq}"), Some(seq)))
}

/// Makes a change, verifies, and restores the ledger.
async fn assert_detected(database: &TestDatabase, entries: usize, earlier_head: &str, change: &Tampering) {
    let Some((statement, wrong_seq)) = plan_tampering(database, entries, change).await else { return };
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
        let begun: Vec<_> = (0..*together).map(|number| intent(&format!("A:{}", number % 3))).collect();
        let ids: Vec<_> = begun.iter().map(|write| write.operation.clone()).collect();
        join_all(begun.into_iter().map(|write| store.begin(write))).await;
        join_all(ids.iter().skip(1).map(|id| store.finish(applied_outcome(id)))).await;
    }
    let entries = store.ledger(all_entries_query()).await.expect("read").items;
    assert!(store.close(std::time::Duration::from_mins(1)).await);
    database.execute(BACKUP).await;
    for change in changes {
        assert_detected(database, entries.len(), &entries[entries.len() - 1].hash, change).await;
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
