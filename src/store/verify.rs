//! Whether the ledger is what was written.

use sqlx::AnyPool;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::StoreError;
use super::engine::Engine;
use super::ledger::{LedgerEntry, NOTHING_BEFORE, chain_hash, rfc3339};
use super::sql::{Cell, arguments};

/// How many entries are held in memory at once.
const PIECE: i64 = 500;

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
    let mut piece = PIECE;
    loop {
        let rows = match entries_after(pool, verified.entries, piece).await {
            // One that is no text any more: which it is shows when they are read one by one.
            Err(sqlx::Error::Decode(_) | sqlx::Error::ColumnDecode { .. }) if piece > 1 => {
                piece = 1;
                continue;
            }
            Err(sqlx::Error::Decode(why) | sqlx::Error::ColumnDecode { source: why, .. }) => {
                return Ok(broken(verified, format!("it cannot be read: {why}")));
            }
            read => read?,
        };
        for row in &rows {
            match check(row, &verified) {
                Ok(hash) => {
                    verified.entries += 1;
                    if wanted == Some(hash.as_str()) {
                        verified.head_known = Some(true);
                    }
                    verified.head = hash;
                }
                Err(why) => return Ok(broken(verified, why)),
            }
            if verified.entries == last && verified.head != last_hash {
                verified.entries -= 1;
                return Ok(broken(verified, "it is not the entry that was written last".into()));
            }
        }
        if rows.is_empty() {
            break;
        }
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

async fn entries_after(pool: &AnyPool, seq: i64, limit: i64) -> Result<Vec<AnyRow>, sqlx::Error> {
    let statement = "SELECT seq, at, operation, caller, system, record, body, hash FROM ledger WHERE seq > $1 ORDER BY seq LIMIT $2";
    let cells = arguments([Cell::Number(seq), Cell::Number(limit)])?;
    sqlx::query_with(statement, cells).fetch_all(pool).await
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

/// The entry's hash, if it is the one that follows.
fn check(row: &AnyRow, so_far: &Verified) -> Result<String, String> {
    let unreadable = |error: sqlx::Error| format!("it cannot be read: {error}");
    let text = |column: usize| row.try_get::<String, _>(column).map_err(unreadable);
    let seq: i64 = row.try_get(0).map_err(unreadable)?;
    let at: i64 = row.try_get(1).map_err(unreadable)?;
    let record: Option<String> = row.try_get(5).map_err(unreadable)?;
    let (body, hash) = (text(6)?, text(7)?);
    if seq != so_far.entries + 1 {
        return Err(format!("it is gone; the next is {seq}"));
    }
    if chain_hash(&so_far.head, &body) != hash {
        return Err("its hash does not fit its content and the entry before".into());
    }
    let entry = LedgerEntry::restore(&body, &hash).ok_or("its content is not an entry")?;
    let same = entry.seq == seq
        && entry.prev == so_far.head
        && entry.at == rfc3339(at)
        && entry.operation.as_str() == text(2)?
        && entry.caller == text(3)?
        && entry.system == text(4)?
        && entry.record == record;
    if same { Ok(hash) } else { Err("the columns for searching tell another story than its content".into()) }
}
