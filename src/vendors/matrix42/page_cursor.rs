//! The paging of lists.

use foldhash::{HashSet, HashSetExt as _};

use super::fragment::Fragment;
use crate::record::VendorError;
use crate::vendors::common::{parse_guid, unparseable_response};

/// The position in a list. The first and the last id of the page before reveal a server that
/// repeats a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The number of the page, from 0.
    pub(super) page: u64,
    /// The page size that the number refers to.
    pub(super) size: usize,
    pub(super) first: String,
    pub(super) last: String,
}

impl Cursor {
    /// Parses what `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('.').collect();
        let [page, size, first, last] = parts.as_slice() else { return None };
        let cursor = Self {
            page: page.parse().ok()?,
            size: size.parse().ok()?,
            first: parse_guid(first)?,
            last: parse_guid(last)?,
        };
        (cursor.size > 0).then_some(cursor)
    }

    /// The new fragments of the page at this cursor, and the next cursor. The vendor gives no
    /// total: a page that is not full is the last one. A page that repeats the one before has no
    /// new fragments and ends the list.
    pub(super) fn next_page(&self, page: Vec<Fragment>) -> Result<(Vec<Fragment>, Option<Self>), VendorError> {
        if page.len() > self.size {
            return Err(unparseable_response("more fragments than requested"));
        }
        let id_at = |fragment: Option<&Fragment>| fragment.and_then(|fragment| fragment.id.clone()).unwrap_or_default();
        let (first, last) = (id_at(page.first()), id_at(page.last()));
        if first == self.first && last == self.last {
            return Ok((Vec::new(), None));
        }
        let next = Self { page: self.page.saturating_add(1), size: self.size, first, last };
        let next = (page.len() == self.size).then_some(next);
        let mut seen = HashSet::with_capacity(page.len() + 1);
        seen.insert(self.last.clone());
        let new = page.into_iter().filter(|fragment| fragment.id.clone().is_none_or(|id| seen.insert(id)));
        Ok((new.collect(), next))
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}.{}.{}", self.page, self.size, self.first, self.last)
    }
}
