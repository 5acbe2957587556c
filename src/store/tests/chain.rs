use std::time::Duration;

use sqlx::{AnyConnection, Connection as _, Row as _};

use super::super::*;
use super::place::{Place, applied, everything, intent, places};

#[tokio::test]
async fn the_ledger_is_filtered_by_system_record_caller_and_time_in_pages() {
    for place in places().await {
        let store = place.open().await;
        for index in 0..6 {
            let write = Intent {
                system: if index == 5 { "itsm".into() } else { "crm".into() },
                caller: if index == 2 { "shop".into() } else { "billing".into() },
                ..intent(if index < 3 { "A:1" } else { "A:2" })
            };
            store.begin(write).await.expect("begun");
            store.passes(Duration::from_mins(1));
        }
        let list = async |query: LedgerQuery| {
            let page = store.ledger(query).await.expect("a page");
            (page.items.iter().map(|entry| entry.seq).collect::<Vec<_>>(), page.next)
        };
        assert_eq!(list(LedgerQuery { limit: 4, ..everything() }).await, (vec![1, 2, 3, 4], Some(4)));
        assert_eq!(list(LedgerQuery { after_seq: Some(4), ..everything() }).await, (vec![5, 6], None));
        assert_eq!(list(LedgerQuery { systems: vec!["itsm".into()], ..everything() }).await, (vec![6], None));
        assert_eq!(list(LedgerQuery { record: Some("A:1".into()), ..everything() }).await, (vec![1, 2, 3], None));
        assert_eq!(list(LedgerQuery { caller: Some("shop".into()), ..everything() }).await, (vec![3], None));
        let entries = store.ledger(everything()).await.expect("read").items;
        let time = |seq: usize| entries[seq - 1].at.parse::<jiff::Timestamp>().ok();
        assert_eq!(list(LedgerQuery { since: time(3), until: time(5), ..everything() }).await, (vec![3, 4], None));
        assert_eq!(list(LedgerQuery { since: Some(jiff::Timestamp::MAX), ..everything() }).await, (vec![], None));
        assert_eq!(list(LedgerQuery { systems: vec![], ..everything() }).await, (vec![], None));
    }
}

#[tokio::test]
async fn replicas_that_write_at_once_make_one_chain() {
    for place in places().await.into_iter().filter(|place| place.shared) {
        let (one, two) = (place.open().await, place.open().await);
        let writes = (0..60).map(|index| {
            let store = if index % 2 == 0 { one.clone() } else { two.clone() };
            async move {
                let write = intent(&format!("A:{index}"));
                let id = write.operation.clone();
                assert_eq!(store.begin(write).await, Ok(Begun::Started));
                store.finish(applied(&id)).await.expect("finished");
            }
        });
        futures_util::future::join_all(writes).await;
        let verified = one.verify(None).await.expect("verified");
        assert_eq!((verified.entries, verified.broken), (120, None));
    }
}

#[tokio::test]
async fn a_head_noted_earlier_is_found_and_a_cut_or_foreign_one_is_not() {
    for place in places().await {
        let store = place.open().await;
        store.begin(intent("A:1")).await.expect("begun");
        let noted = store.verify(None).await.expect("verified").head;
        store.begin(intent("A:1")).await.expect("begun");
        let known = store.verify(Some(&noted)).await.expect("verified");
        assert!(known.is_sound() && known.head_known == Some(true) && known.head != noted);
        let foreign = store.verify(Some(&"f".repeat(64))).await.expect("verified");
        assert!(!foreign.is_sound() && foreign.broken.is_none());
        assert_eq!(verify_ledger(&place.url, Some(&noted)).await, Ok(known), "beside the running store");
        place.execute("DELETE FROM ledger WHERE seq = 2").await;
        let cut = store.verify(None).await.expect("verified");
        assert_eq!(cut.broken.map(|broken| broken.seq), Some(2));
        place.execute("UPDATE head SET seq = 1, hash = (SELECT hash FROM ledger WHERE seq = 1)").await;
        assert!(store.verify(None).await.expect("verified").is_sound(), "a careful cut shows only to a noted head");
    }
}

/// Every column of every entry, changed in one place, one at a time.
async fn every_change_is_found(place: &Place) {
    sqlx::any::install_default_drivers();
    let url = place.url.replace(' ', "%20");
    let mut connection = AnyConnection::connect(&url).await.expect("a connection");
    let rows = sqlx::query("SELECT seq, body, hash FROM ledger ORDER BY seq").fetch_all(&mut connection).await;
    for row in rows.expect("rows") {
        let seq: i64 = row.get(0);
        for (column, text) in [("body", row.get::<String, _>(1)), ("hash", row.get::<String, _>(2))] {
            let step = (text.len() / 12).max(1);
            for at in (0..text.len()).step_by(step) {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
                let changed = String::from_utf8(bytes).expect("ASCII");
                let set = format!("UPDATE ledger SET {column} = $1 WHERE seq = $2");
                let update = || sqlx::query(sqlx::AssertSqlSafe(set.clone()));
                update().bind(changed).bind(seq).execute(&mut connection).await.expect("changed");
                let found = verify_ledger(&place.url, None).await.expect("verified").broken;
                assert_eq!(found.map(|broken| broken.seq), Some(seq), "{column} {at}");
                update().bind(text.as_str()).bind(seq).execute(&mut connection).await.expect("restored");
            }
        }
        for change in ["at = at + 1", "caller = 'x'", "system = 'x'", "record = 'x'", "operation = 'x'"] {
            let set = format!("UPDATE ledger SET {change} WHERE seq = {seq}");
            let column = change.split(' ').next().expect("a column");
            let keep = format!("CREATE TABLE kept AS SELECT {column} AS value FROM ledger WHERE seq = {seq}");
            let back =
                format!("UPDATE ledger SET {column} = (SELECT value FROM kept) WHERE seq = {seq}; DROP TABLE kept");
            place.execute(&keep).await;
            place.execute(&set).await;
            let found = verify_ledger(&place.url, None).await.expect("verified").broken;
            assert_eq!(found.map(|broken| broken.seq), Some(seq), "{change}");
            place.execute(&back).await;
        }
    }
    assert!(verify_ledger(&place.url, None).await.expect("verified").is_sound());
}

#[tokio::test]
async fn an_entry_that_the_store_did_not_write_is_found_even_if_it_fits() {
    for place in places().await {
        let store = place.open().await;
        store.begin(intent("A:1")).await.expect("begun");
        let mut forged = store.ledger(everything()).await.expect("read").items.pop().expect("an entry");
        (forged.seq, forged.prev) = (2, forged.hash.clone());
        let body = forged.canonical();
        let hash = ledger::chain_hash(&forged.prev, &body);
        place
            .execute(&format!(
                "INSERT INTO ledger (seq, at, operation, caller, system, record, body, hash)
                 SELECT 2, at, operation, caller, system, record, '{body}', '{hash}' FROM ledger WHERE seq = 1"
            ))
            .await;
        let found = store.verify(None).await.expect("verified").broken;
        assert_eq!(found.map(|broken| broken.seq), Some(2));
    }
}

#[tokio::test]
async fn a_changed_entry_is_found_and_named() {
    for place in places().await {
        let store = place.open().await;
        let write = intent("A:1");
        let id = write.operation.clone();
        store.begin(write).await.expect("begun");
        store.finish(applied(&id)).await.expect("finished");
        every_change_is_found(&place).await;
    }
}
