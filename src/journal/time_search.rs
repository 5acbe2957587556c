//! Finds entries by time with a binary search over their numbers: no index on the time is needed.
//!
//! Between two steps of the clock the times of entries never decrease, so each such piece of the
//! ledger is searched like a sorted list.

use std::fmt::Write as _;
use std::ops::Range;

use super::error::DbError;
use super::readers::Reader;

/// How many entries one query looks at. More of them mean fewer queries, each of which is a round
/// trip.
const PROBES: i64 = 32;

/// The numbers of the entries with `since <= at < until` (milliseconds since 1970), oldest first.
/// The last range is open if entries that are added later may belong to it.
pub(super) async fn ranges_of_time(
    reader: &Reader,
    since: Option<i64>,
    until: Option<i64>,
) -> Result<Vec<Range<i64>>, DbError> {
    let mut ranges = Vec::new();
    if since.is_none() && until.is_none() {
        ranges.push(0..i64::MAX);
        return Ok(ranges);
    }
    let mut starts = vec![0];
    for mut row in reader.select("SELECT seq FROM clock_step ORDER BY seq", &[]).await? {
        starts.push(row.int(0)?);
    }
    let (mut first, mut end) = (0, 0);
    // With both in one query, SQLite reads the whole table.
    let bounds = "SELECT (SELECT min(seq) FROM ledger), (SELECT max(seq) FROM ledger)";
    for mut row in reader.select(bounds, &[]).await? {
        (first, end) = (row.opt_int(0)?.unwrap_or_default(), row.opt_int(1)?.unwrap_or_default() + 1);
    }
    for (index, start) in starts.iter().enumerate() {
        let next = starts.get(index + 1).copied();
        let piece = (*start).max(first)..next.unwrap_or(end).min(end);
        let from = match since {
            Some(since) => first_not_before(reader, piece.clone(), since).await?,
            None => piece.start,
        };
        let to = match until {
            Some(until) => first_not_before(reader, piece.clone(), until).await?,
            None => piece.end,
        };
        let to = if next.is_none() && to == piece.end { i64::MAX } else { to };
        if from < to {
            ranges.push(from..to);
        }
    }
    Ok(ranges)
}

/// The first entry of a piece at or after a time; the piece's end if there is none.
async fn first_not_before(reader: &Reader, piece: Range<i64>, time: i64) -> Result<i64, DbError> {
    let Range { start: mut low, end: mut high } = piece;
    while low < high {
        let step = ((high - low) / PROBES).max(1);
        let mut statement = String::from("SELECT seq, at FROM ledger WHERE seq IN (");
        let mut probe = low;
        while probe < high {
            // Writing to a String cannot fail.
            let _ = write!(statement, "{}{probe}", if probe == low { "" } else { "," });
            probe += step;
        }
        statement.push_str(") ORDER BY seq");
        let before = (low, high);
        for mut row in reader.select(&statement, &[]).await? {
            let (seq, at) = (row.int(0)?, row.int(1)?);
            if at < time {
                low = seq + 1;
            } else {
                high = high.min(seq);
                break;
            }
        }
        if (low, high) == before {
            // The entries are missing, as `verify` reports.
            return Ok(high);
        }
    }
    Ok(high)
}
