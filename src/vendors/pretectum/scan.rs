//! The paging of lists.

use std::borrow::Cow;
use std::collections::HashSet;

use super::protocol::{self, Listing};
use crate::record::VendorError;
use crate::transport::{Transport, VendorRequestKind};
use crate::vendors::common::unparseable_response;

/// More pages than any dataset has: a longer list is treated as endless.
const MAX_PAGES: usize = 10_000;

/// Reads the pages of a dataset in order, up to [`MAX_PAGES`].
pub(super) struct Scan<'s> {
    transport: &'s dyn Transport,
    kind: VendorRequestKind,
    collection: &'s str,
    page_key: Option<String>,
    seen: HashSet<String>,
    is_done: bool,
    /// Where each page began, to compare two scans.
    layout: Vec<Option<String>>,
}

impl<'s> Scan<'s> {
    pub(super) fn new(transport: &'s dyn Transport, kind: VendorRequestKind, collection: &'s str) -> Self {
        Self { transport, kind, collection, page_key: None, seen: HashSet::new(), is_done: false, layout: Vec::new() }
    }

    /// The next page and the key that it was requested with. An empty page may have a successor:
    /// only the key shows the end.
    pub(super) async fn next_page(&mut self) -> Result<Option<(Option<String>, Listing)>, VendorError> {
        if self.is_done {
            return Ok(None);
        }
        let page_key = self.page_key.take();
        let request = protocol::list_request(self.kind, self.collection, page_key.as_deref());
        let listing = Listing::parse(&self.transport.send(request).await?.body)?;
        self.page_key.clone_from(&listing.next_page_key);
        let first = listing.items.first().map(|item| protocol::parse_item_id(item.as_str()));
        self.layout.push(first.transpose()?.map(Cow::into_owned));
        match &self.page_key {
            None => self.is_done = true,
            Some(key) if !self.seen.insert(key.clone()) => {
                return Err(unparseable_response("a list that repeats a page"));
            }
            Some(_) if self.seen.len() >= MAX_PAGES => return Err(unparseable_response("a list with too many pages")),
            Some(_) => {}
        }
        Ok(Some((page_key, listing)))
    }
}

/// The first record of each page of a scan.
pub(super) struct PageStarts(Vec<Option<String>>);

impl PageStarts {
    /// Whether the other scan saw the same pages. Records of a single page cannot move to a page
    /// that was read before, so one such scan is enough.
    pub(super) fn confirms(&self, earlier: Option<&Self>) -> bool {
        self.0.len() <= 1 || earlier.is_some_and(|earlier| earlier.0 == self.0)
    }
}

impl Scan<'_> {
    /// The first record of each page that was read.
    pub(super) fn into_page_starts(self) -> PageStarts {
        PageStarts(self.layout)
    }
}

/// The position in a list: in the middle of a vendor's page, or at the beginning of one.
#[derive(Default)]
pub(super) struct Cursor {
    /// How many records of the page were listed before.
    pub(super) offset: usize,
    /// The key of the last of them.
    pub(super) last_key: Option<String>,
    /// The key of the page; `None` for the first one.
    pub(super) page_key: Option<String>,
}

impl Cursor {
    /// Parses what `Display` writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, '.');
        let offset = parts.next()?.parse().ok()?;
        let non_empty = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        Some(Self { offset, last_key: non_empty(parts.next()?), page_key: non_empty(parts.next()?) })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        write!(formatter, "{}.{}.{}", self.offset, text(&self.last_key), text(&self.page_key))
    }
}
