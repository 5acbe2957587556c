//! Finding single records in the pages of a dataset.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use moka::future::Cache;

use super::protocol::{self, Listing};
use super::scan::Scan;
use crate::record::{RecordId, VendorError, VendorRecord};
use crate::transport::{Transport, VendorRequestKind};

/// How often a read scans a list that changes meanwhile.
const MAX_SCANS: usize = 4;
/// For how many records the page is cached.
const MAX_CACHED_RECORDS: u64 = 50_000;

/// The key of the page where each record was last seen. Records of the first page are not in it.
pub(super) struct PageCache(Cache<RecordId, Arc<str>>);

impl Default for PageCache {
    fn default() -> Self {
        Self(Cache::new(MAX_CACHED_RECORDS))
    }
}

impl PageCache {
    /// The record was seen on this page.
    pub(super) async fn cache_page(&self, id: &RecordId, page_key: Option<&str>) {
        match page_key {
            Some(key) => self.0.insert(id.clone(), key.into()).await,
            None => self.0.invalidate(id).await,
        }
    }

    /// Scans until the record is found, or a second scan has confirmed that it is missing.
    pub(super) async fn find(
        &self,
        transport: &dyn Transport,
        id: &RecordId,
    ) -> Result<Option<VendorRecord>, VendorError> {
        let mut earlier = None;
        for _ in 0..MAX_SCANS {
            let mut scan = Scan::new(transport, VendorRequestKind::Read, id.collection());
            while let Some((page_key, listing)) = scan.next_page().await? {
                if let Some(found) = listing.find_record(id.key())? {
                    self.cache_page(id, page_key.as_deref()).await;
                    return Ok(Some(found));
                }
            }
            let layout = scan.into_page_starts();
            if layout.confirms(earlier.as_ref()) {
                break;
            }
            earlier = Some(layout);
        }
        Ok(None)
    }

    /// Scans until every record is found, or a second scan has confirmed that the others are
    /// missing.
    pub(super) async fn find_all(
        &self,
        transport: &dyn Transport,
        ids: &[RecordId],
        found: &mut HashMap<String, VendorRecord>,
    ) -> Result<(), VendorError> {
        let Some(first) = ids.first() else { return Ok(()) };
        let mut missing: HashSet<&str> = ids.iter().map(RecordId::key).collect();
        let mut earlier = None;
        for _ in 0..MAX_SCANS {
            let mut scan = Scan::new(transport, VendorRequestKind::Read, first.collection());
            while let Some((page_key, listing)) = scan.next_page().await? {
                for (key, record) in listing.find_records(&missing)? {
                    missing.remove(key.as_str());
                    self.cache_page(&RecordId::new(first.collection(), &key), page_key.as_deref()).await;
                    found.insert(key, record);
                }
                if missing.is_empty() {
                    return Ok(());
                }
            }
            let layout = scan.into_page_starts();
            if layout.confirms(earlier.as_ref()) {
                break;
            }
            earlier = Some(layout);
        }
        Ok(())
    }

    /// Reads the page where the record was last seen. A page key that the vendor no longer accepts
    /// is not an error of the read.
    pub(super) async fn read(
        &self,
        transport: &dyn Transport,
        id: &RecordId,
    ) -> Result<Option<VendorRecord>, VendorError> {
        let Some(page_key) = self.0.get(id).await else { return Ok(None) };
        let request = protocol::list_request(VendorRequestKind::Read, id.collection(), Some(&page_key));
        let found = match transport.send(request).await {
            Ok(response) => Listing::parse(&response.body)?.find_record(id.key())?,
            Err(fault) if matches!(fault.status, Some(400 | 404 | 410 | 422)) => None,
            Err(fault) => return Err(fault),
        };
        if found.is_none() {
            self.0.invalidate(id).await;
        }
        Ok(found)
    }
}
