//! Whoever changes the ledger behind the store's back is found, and the first entry that is not as it was written is named.

use futures_util::future::join_all;
use proptest::prelude::*;
use proptest::sample::Index;
use sqlx::{AnyConnection, Connection as _, Row as _};

use super::super::*;
use super::fixtures::{TestStore, all_entries_query, applied_outcome, intent, test_stores};

const BACKUP: &str = "CREATE TABLE kept AS SELECT * FROM ledger; CREATE TABLE kept_head AS SELECT * FROM head";
const RESTORE: &str = "DELETE FROM ledger; INSERT INTO ledger SELECT * FROM kept;
                       DELETE FROM head; INSERT INTO head SELECT * FROM kept_head";

/// One change behind the store's back; indices choose among the pages there are.
#[derive(Clone, Debug)]
enum Tampering {
    /// One byte of a page's entries, or of what they follow, becomes this.
    Byte {
        block: Index,
        prev: bool,
        at: Index,
        byte: u8,
    },
    Deleted(Index),
    Swapped(Index, Index),
    /// The last pages go, and the note of where the chain ends is made to fit.
    Cut(Index),
}

fn tampering_strategy() -> impl Strategy<Value = Tampering> {
    let byte = (any::<Index>(), prop::bool::weighted(0.1), any::<Index>(), any::<u8>());
    prop_oneof![
        4 => byte.prop_map(|(page, prev, at, byte)| Tampering::Byte { block: page, prev, at, byte }),
        1 => any::<Index>().prop_map(Tampering::Deleted),
        1 => any::<(Index, Index)>().prop_map(|(one, other)| Tampering::Swapped(one, other)),
        1 => any::<Index>().prop_map(Tampering::Cut),
    ]
}

/// A page as it is stored.
struct StoredBlock {
    first: i64,
    prev: String,
    lines: String,
}

async fn load_blocks(place: &TestStore) -> Vec<StoredBlock> {
    sqlx::any::install_default_drivers();
    let mut connection = AnyConnection::connect(&place.url.replace(' ', "%20")).await.expect("a connection");
    let rows = sqlx::query("SELECT first_seq, prev, lines FROM ledger ORDER BY first_seq").fetch_all(&mut connection);
    let page = |row: sqlx::any::AnyRow| StoredBlock { first: row.get(0), prev: row.get(1), lines: row.get(2) };
    rows.await.expect("rows").into_iter().map(page).collect()
}

/// The statement that makes a change, and the entry that must be named for it (none for a careful cut); `None` where nothing
/// would change, or the database takes no such text.
fn plan_tampering(place: &TestStore, pages: &[StoredBlock], change: &Tampering) -> Option<(String, Option<i64>)> {
    let chosen = |index: &Index| index.get(pages);
    match change {
        Tampering::Byte { block: page, prev, at, byte } => replace_byte(place, chosen(page), *prev, *at, *byte),
        Tampering::Deleted(page) => {
            let first = chosen(page).first;
            Some((format!("DELETE FROM ledger WHERE first_seq = {first}"), Some(first)))
        }
        Tampering::Swapped(one, other) => {
            let (one, other) = (chosen(one).first, chosen(other).first);
            let (one, other) = (one.min(other), one.max(other));
            let swap = format!(
                "UPDATE ledger SET first_seq = -1 WHERE first_seq = {one};
                 UPDATE ledger SET first_seq = {one} WHERE first_seq = {other};
                 UPDATE ledger SET first_seq = {other} WHERE first_seq = -1"
            );
            (one != other).then_some((swap, Some(one)))
        }
        Tampering::Cut(page) => {
            let StoredBlock { first, prev, .. } = chosen(page);
            let cut = format!(
                "DELETE FROM ledger WHERE first_seq >= {first}; UPDATE head SET seq = {first} - 1, hash = '{prev}'"
            );
            Some((cut, None))
        }
    }
}

fn replace_byte(
    place: &TestStore,
    page: &StoredBlock,
    prev: bool,
    at: Index,
    byte: u8,
) -> Option<(String, Option<i64>)> {
    let (column, text) = if prev { ("prev", &page.prev) } else { ("lines", &page.lines) };
    let mut bytes = text.clone().into_bytes();
    let at = at.index(bytes.len());
    if bytes[at] == byte {
        return None;
    }
    let line = if prev { 0 } else { bytes[..at].split(|byte| *byte == b'\n').count() - 1 };
    bytes[at] = byte;
    let hex = const_hex::encode(&bytes);
    let value = if place.shared {
        // PostgreSQL keeps no text that is none.
        std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0'))?;
        format!("convert_from('\\x{hex}', 'UTF8')")
    } else {
        format!("CAST(x'{hex}' AS TEXT)")
    };
    let set = format!("UPDATE ledger SET {column} = {value} WHERE first_seq = {}", page.first);
    Some((set, Some(page.first + i64::try_from(line).expect("few lines"))))
}

/// Makes a change and holds what `verify` says against it.
async fn assert_detected(place: &TestStore, pages: &[StoredBlock], noted: &str, change: &Tampering) {
    let Some((statement, broken)) = plan_tampering(place, pages, change) else { return };
    place.execute(&statement).await;
    let found = verify_ledger(&place.url, Some(noted)).await.expect("verified");
    assert!(!found.is_sound(), "{change:?} is not found: {found:?}");
    assert_eq!(found.first_error.as_ref().map(|broken| broken.seq), broken, "{change:?}: {found:?}");
    if broken.is_none() {
        assert_eq!(found.head_found, Some(false), "only the head that was noted shows a careful cut");
    }
    place.execute(RESTORE).await;
}

async fn assert_every_change_is_detected(place: &TestStore, writes: &[u8], changes: &[Tampering]) {
    let store = place.open().await;
    for together in writes {
        // Those that are begun and finished together share pages.
        let begun: Vec<_> = (0..*together).map(|number| intent(&format!("A:{}", number % 3))).collect();
        let ids: Vec<_> = begun.iter().map(|write| write.operation.clone()).collect();
        join_all(begun.into_iter().map(|write| store.begin(write))).await;
        join_all(ids.iter().skip(1).map(|id| store.finish(applied_outcome(id)))).await;
    }
    let entries = store.ledger(all_entries_query()).await.expect("read").items;
    assert!(store.close(std::time::Duration::from_mins(1)).await);
    let pages = load_blocks(place).await;
    place.execute(BACKUP).await;
    for change in changes {
        assert_detected(place, &pages, &entries[entries.len() - 1].hash, change).await;
    }
    assert!(verify_ledger(&place.url, None).await.expect("verified").is_sound());
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
            for place in test_stores().await {
                assert_every_change_is_detected(&place, &writes, &changes).await;
            }
        });
    }
}
