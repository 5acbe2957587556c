//! Whoever changes the ledger behind the store's back is found, and the first entry that is not as it was written is named.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::*;
use super::place::{Place, applied, everything, intent, places};

// Each entry was committed by itself here, and has a page of its own.
const KEEP: &str = "CREATE TABLE kept AS SELECT * FROM ledger; CREATE TABLE kept_head AS SELECT * FROM head";
const RESTORE: &str = "DELETE FROM ledger; INSERT INTO ledger SELECT * FROM kept;
                       DELETE FROM head; INSERT INTO head SELECT * FROM kept_head";

/// One change behind the store's back; indices choose among the entries there are.
#[derive(Clone, Debug)]
enum Change {
    /// One byte of one column becomes this.
    Byte {
        entry: Index,
        column: Index,
        at: Index,
        byte: u8,
    },
    Deleted(Index),
    Swapped(Index, Index),
    /// The last entries go, and the note of where the chain ends is made to fit.
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let byte = (any::<Index>(), any::<Index>(), any::<Index>(), any::<u8>());
    prop_oneof![
        4 => byte.prop_map(|(entry, column, at, byte)| Change::Byte { entry, column, at, byte }),
        1 => any::<Index>().prop_map(Change::Deleted),
        1 => any::<(Index, Index)>().prop_map(|(one, other)| Change::Swapped(one, other)),
        1 => any::<Index>().prop_map(Change::Cut),
    ]
}

/// Makes a change and holds what `verify` says against it.
async fn is_found(place: &Place, entries: &[LedgerEntry], change: &Change) {
    let count = i64::try_from(entries.len()).expect("few entries");
    let seq = |index: &Index| i64::try_from(index.index(entries.len())).expect("few entries") + 1;
    let (statement, broken) = match change {
        Change::Byte { entry, column, at, byte } => {
            let seq = seq(entry);
            let statement = change_a_byte(place, &entries[entry.index(entries.len())], *column, *at, *byte);
            let Some(statement) = statement else { return };
            (statement, Some(seq))
        }
        Change::Deleted(entry) => (format!("DELETE FROM ledger WHERE first_seq = {}", seq(entry)), Some(seq(entry))),
        Change::Swapped(one, other) => {
            let (one, other) = (seq(one).min(seq(other)), seq(one).max(seq(other)));
            if one == other {
                return;
            }
            let swap = format!(
                "UPDATE ledger SET first_seq = -1 WHERE first_seq = {one};
                 UPDATE ledger SET first_seq = {one} WHERE first_seq = {other};
                 UPDATE ledger SET first_seq = {other} WHERE first_seq = -1"
            );
            (swap, Some(one))
        }
        Change::Cut(last) => {
            let (hash, last) = (&entries[last.index(entries.len())].hash, seq(last));
            if last == count {
                return;
            }
            let cut =
                format!("DELETE FROM ledger WHERE first_seq > {last}; UPDATE head SET seq = {last}, hash = '{hash}'");
            (cut, None)
        }
    };
    place.execute(&statement).await;
    let noted = &entries[entries.len() - 1].hash;
    let found = verify_ledger(&place.url, Some(noted)).await.expect("verified");
    assert!(!found.is_sound(), "{change:?} is not found: {found:?}");
    assert_eq!(found.broken.as_ref().map(|broken| broken.seq), broken, "{change:?}: {found:?}");
    if broken.is_none() {
        assert_eq!(found.head_known, Some(false), "only the head that was noted shows a careful cut");
    }
    place.execute(RESTORE).await;
}

/// The statement that changes one byte; `None` where the byte is the same, or the database takes no such text.
fn change_a_byte(place: &Place, entry: &LedgerEntry, column: Index, at: Index, byte: u8) -> Option<String> {
    let mut page = page::Page::begin(entry.seq, 0, &entry.prev);
    page.append(entry, None, &entry.prev);
    let columns = [("lines", page.lines), ("prev", entry.prev.clone())];
    let (column, text) = &columns[column.index(columns.len())];
    let mut bytes = text.clone().into_bytes();
    let at = at.index(bytes.len());
    if bytes[at] == byte {
        return None;
    }
    bytes[at] = byte;
    let hex = hex::encode(&bytes);
    let value = if place.shared {
        // PostgreSQL keeps no text that is none.
        std::str::from_utf8(&bytes).ok().filter(|text| !text.contains('\0'))?;
        format!("convert_from('\\x{hex}', 'UTF8')")
    } else {
        format!("CAST(x'{hex}' AS TEXT)")
    };
    Some(format!("UPDATE ledger SET {column} = {value} WHERE first_seq = {}", entry.seq))
}

async fn every_change_is_found(place: &Place, writes: u8, changes: &[Change]) {
    let store = place.open().await;
    for number in 0..writes {
        let write = intent(&format!("A:{}", number % 3));
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        if number % 4 != 3 {
            store.finish(applied(&id)).await.expect("finished");
        }
    }
    let entries = store.ledger(everything()).await.expect("read").items;
    assert!(store.close(std::time::Duration::from_mins(1)).await);
    place.execute(KEEP).await;
    for change in changes {
        is_found(place, &entries, change).await;
    }
    assert!(verify_ledger(&place.url, None).await.expect("verified").is_sound());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_change_is_found_and_the_first_entry_that_is_not_as_it_was_written_is_named(
        writes in 2_u8..12,
        changes in prop::collection::vec(change(), 20),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for place in places().await {
                every_change_is_found(&place, writes, &changes).await;
            }
        });
    }
}
