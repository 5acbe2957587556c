//! Whether the ledger is what was written.

use std::collections::HashSet;

use sqlx::AnyPool;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::StoreError;
use super::engine::Engine;
use super::ledger::{LedgerEntry, NOTHING_BEFORE, rfc3339};
use super::lines::Lines;
use super::sql::{Cell, arguments};

/// How many pages are held in memory at once.
const PIECE: i64 = 64;
/// How many records of a page one look-up takes; fewer are filled up with the last.
const AT_ONCE: usize = 8;

const TRACED: &str = "SELECT system, record FROM ledger_record WHERE (system, record, first_seq) IN (VALUES
    ($1,$2,$3),($4,$5,$6),($7,$8,$9),($10,$11,$12),($13,$14,$15),($16,$17,$18),($19,$20,$21),($22,$23,$24))";

const PAGES: &str = "SELECT first_seq, at, prev, lines FROM ledger WHERE first_seq > $1 ORDER BY first_seq LIMIT $2";
/// For SQLite, which keeps texts that are none; PostgreSQL does not.
const PAGES_AS_BYTES: &str = "SELECT first_seq, at, CAST(prev AS BLOB), CAST(lines AS BLOB) FROM ledger
    WHERE first_seq > $1 ORDER BY first_seq LIMIT $2";

/// The first thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The entry.
    pub seq: i64,
    /// What is wrong with it.
    pub why: String,
}

/// What computing the chain again showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many entries are right, from the first.
    pub entries: i64,
    /// The hash of the last of them: note it down, and a later check shows that it is still there.
    pub head: String,
    /// The first entry that is wrong or missing.
    pub broken: Option<Broken>,
    /// Whether the hash asked for is that of an entry (or of the empty ledger); `None` when none was asked for.
    pub head_known: Option<bool>,
}

impl Verified {
    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.broken.is_none() && self.head_known != Some(false)
    }
}

/// Computes the chain of a store again without opening it for writing: also beside a running gateway.
/// Needs a tokio runtime. `url` as in [`StoreSettings`](super::StoreSettings).
///
/// # Errors
/// `Open`, `Unavailable`. A broken chain is not an error but a finding.
pub async fn verify_ledger(url: &str, head: Option<&str>) -> Result<Verified, StoreError> {
    let pool = Engine::parse(url)?.readers(|| true)?;
    let verified = run(&pool, head).await;
    pool.close().await;
    verified.map_err(|error| match error {
        sqlx::Error::Database(database) => StoreError::Open(database.message().to_owned()),
        other => other.into(),
    })
}

pub(super) async fn run(pool: &AnyPool, wanted: Option<&str>) -> Result<Verified, sqlx::Error> {
    // Taken first: entries that come meanwhile are checked too, and those up to here must be there.
    let (last, last_hash) = noted_head(pool).await?;
    let mut verified = Verified {
        entries: 0,
        head: NOTHING_BEFORE.into(),
        broken: None,
        head_known: wanted.map(|wanted| wanted == NOTHING_BEFORE),
    };
    let (mut after, mut piece) = (0, PIECE);
    loop {
        let pages = match pages_after(pool, PAGES, after, piece).await {
            // One that is no text any more: which it is, and which of its lines, shows when pages are read one by one as bytes.
            Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) if piece > 1 => {
                piece = 1;
                continue;
            }
            Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) => {
                pages_after(pool, PAGES_AS_BYTES, after, piece).await?
            }
            read => read?,
        };
        for page in &pages {
            if let Err(why) = check(pool, page, &mut verified, wanted, (last, &last_hash)).await? {
                return Ok(broken(verified, why));
            }
        }
        let Some(page) = pages.last() else { break };
        after = page.try_get(0)?;
    }
    if verified.entries < last {
        return Ok(broken(verified, format!("it is gone; the ledger had {last} entries")));
    }
    if verified.entries > noted_head(pool).await?.0 {
        verified.entries = last;
        return Ok(broken(verified, "nobody wrote it: the ledger ends before it".into()));
    }
    Ok(verified)
}

async fn pages_after(
    pool: &AnyPool,
    statement: &'static str,
    seq: i64,
    limit: i64,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let cells = arguments([Cell::Number(seq), Cell::Number(limit)])?;
    sqlx::query_with(statement, cells).fetch_all(pool).await
}

/// A column's text; whatever is none in it shows as such.
fn text(page: &AnyRow, column: usize) -> Result<String, sqlx::Error> {
    page.try_get(column).or_else(|_| {
        let bytes: Vec<u8> = page.try_get(column)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    })
}

/// Where the writers say that the chain ends.
async fn noted_head(pool: &AnyPool) -> Result<(i64, String), sqlx::Error> {
    let row = sqlx::query("SELECT seq, hash FROM head WHERE id = 1").fetch_optional(pool).await?;
    Ok(match row {
        Some(row) => (row.try_get(0)?, row.try_get(1)?),
        None => (0, NOTHING_BEFORE.into()),
    })
}

fn broken(mut verified: Verified, why: String) -> Verified {
    verified.broken = Some(Broken { seq: verified.entries + 1, why });
    verified
}

/// Goes through a page, entry by entry; the inner `Err` = what is wrong with the next one.
async fn check(
    pool: &AnyPool,
    page: &AnyRow,
    verified: &mut Verified,
    wanted: Option<&str>,
    (last, last_hash): (i64, &str),
) -> Result<Result<(), String>, sqlx::Error> {
    let columns = || Ok((page.try_get(0)?, page.try_get(1)?, text(page, 2)?, text(page, 3)?));
    let (first, at, prev, lines): (i64, i64, String, String) = match columns() {
        Ok(columns) => columns,
        Err::<_, sqlx::Error>(error) => return Ok(Err(format!("it cannot be read: {error}"))),
    };
    if first != verified.entries + 1 {
        return Ok(Err(format!("it is gone; the next is {first}")));
    }
    if prev != verified.head {
        return Ok(Err("its hash does not fit its content and the entry before".into()));
    }
    let untraced = untraced(pool, first, &lines).await?;
    let mut left = Lines::of(first, prev, &lines);
    while let Some(entry) = left.checked() {
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) => return Ok(Err(why)),
        };
        let at_another_time = entry.seq == first && entry.at != rfc3339(at);
        if at_another_time || untraced.iter().any(|record| is_about(&entry, record)) {
            return Ok(Err("the columns for searching tell another story than its content".into()));
        }
        verified.entries += 1;
        if wanted == Some(entry.hash.as_str()) {
            verified.head_known = Some(true);
        }
        verified.head = entry.hash;
        if verified.entries == last && verified.head != last_hash {
            verified.entries -= 1;
            return Ok(Err("it is not the entry that was written last".into()));
        }
    }
    Ok(if verified.entries < first { Err("its page is empty".into()) } else { Ok(()) })
}

fn is_about(entry: &LedgerEntry, (system, record): &(String, String)) -> bool {
    entry.system == *system && entry.record.as_ref() == Some(record)
}

/// The records on a page for which a search would not find it.
async fn untraced(pool: &AnyPool, first: i64, text: &str) -> Result<HashSet<(String, String)>, sqlx::Error> {
    let mut lines = Lines::of(first, String::new(), text);
    let entries = std::iter::from_fn(|| lines.entry()).filter_map(Result::ok);
    let mut about: HashSet<_> = entries.filter_map(|entry| Some((entry.system, entry.record?))).collect();
    let all: Vec<_> = about.iter().cloned().collect();
    for some in all.chunks(AT_ONCE) {
        let filled = some.iter().chain(std::iter::repeat(some.last()).flatten()).take(AT_ONCE);
        let cells = filled.flat_map(|(system, record)| [Cell::text(system), Cell::text(record), Cell::Number(first)]);
        for row in sqlx::query_with(TRACED, arguments(cells)?).fetch_all(pool).await? {
            about.remove(&(row.try_get(0)?, row.try_get(1)?));
        }
    }
    Ok(about)
}
