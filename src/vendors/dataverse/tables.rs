//! What the adapter knows of the organization's tables: their sets, their primary keys, and the
//! navigation properties of their lookups. It is read where it is needed, and kept for some
//! minutes.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::protocol::{is_property, is_set, metadata_request};
use crate::record::{VendorError, VendorErrorKind};
use crate::transport::Transport;
use crate::vendors::common::{SLOW_DESCRIPTION_TTL, load_within_limit, unparseable_response};

/// How long metadata is used before it is read again.
const TTL: Duration = Duration::from_mins(10);
/// For how many tables lookups are kept.
const MAX_TABLES: usize = 256;
const TABLES: &str =
    "EntityDefinitions?$select=EntitySetName,LogicalName,PrimaryIdAttribute,DisplayName,IsOptimisticConcurrencyEnabled";

/// A table's description.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Table {
    /// The name of its entity set; null for tables that the Web API does not show.
    #[serde(rename = "EntitySetName")]
    set: Option<String>,
    #[serde(rename = "LogicalName")]
    name: String,
    #[serde(rename = "PrimaryIdAttribute")]
    key: Option<String>,
    #[serde(rename = "IsOptimisticConcurrencyEnabled")]
    compares_versions: Option<bool>,
    #[serde(rename = "DisplayName", default)]
    label: Value,
}

impl Table {
    /// The name of the entity set, if the Web API shows the table.
    pub(super) fn set(&self) -> Option<&str> {
        self.set.as_deref().filter(|set| is_set(set))
    }

    /// The logical name.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The column of the primary key.
    pub(super) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The name for people.
    pub(super) fn title(&self) -> &str {
        label_text(&self.label).unwrap_or(&self.name)
    }
}

/// The label for the account's language.
pub(super) fn label_text(label: &Value) -> Option<&str> {
    label.get("UserLocalizedLabel")?.get("Label")?.as_str().filter(|text| !text.is_empty())
}

/// A navigation property of a lookup, and the set that it leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) navigation: String,
    pub(super) set: String,
}

/// The targets of each lookup, by its attribute.
pub(super) type Lookups = HashMap<String, Vec<Target>>;

#[derive(Debug, Default)]
struct CachedTables {
    tables: Option<(Instant, Arc<Vec<Table>>)>,
    lookups: HashMap<String, (Instant, Arc<Lookups>)>,
    /// The columns of each set that no update sets.
    read_only: HashMap<String, HashSet<String>>,
    /// Sets whose rows the vendor does not compare, as a response has shown.
    not_compared: HashMap<String, Instant>,
    /// When the vendor last did not describe its tables in time.
    slow_at: Option<Instant>,
}

/// The cache of one organization.
#[derive(Debug, Default)]
pub(super) struct TableCache(RwLock<CachedTables>);

impl TableCache {
    fn read<T>(&self, read: impl FnOnce(&CachedTables) -> T) -> T {
        read(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn update(&self, change: impl FnOnce(&mut CachedTables)) {
        change(&mut self.0.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The column of a set's primary key, if it is known.
    pub(super) fn key_column(&self, set: &str) -> Option<String> {
        self.read(|known| find(known, set)?.key.clone())
    }

    /// Whether the vendor compares versions in a set. It does in most tables (VENDOR).
    pub(super) fn compares_versions(&self, set: &str) -> bool {
        self.read(|known| {
            let refused = known.not_compared.get(set).is_some_and(|at| at.elapsed() < TTL);
            !refused && find(known, set).and_then(|table| table.compares_versions) != Some(false)
        })
    }

    /// Notes that the vendor does not compare versions in a set.
    pub(super) fn record_not_compared(&self, set: &str) {
        self.update(|known| {
            if known.not_compared.len() >= MAX_TABLES {
                known.not_compared.clear();
            }
            known.not_compared.insert(set.to_owned(), Instant::now());
        });
    }

    /// Whether a set's description says that no update sets a column.
    pub(super) fn is_read_only(&self, set: &str, column: &str) -> bool {
        self.read(|known| known.read_only.get(set).is_some_and(|columns| columns.contains(column)))
    }

    /// Notes the columns of a set that no update sets.
    pub(super) fn record_read_only(&self, set: &str, columns: HashSet<String>) {
        self.update(|known| {
            if known.read_only.len() >= MAX_TABLES {
                known.read_only.clear();
            }
            known.read_only.insert(set.to_owned(), columns);
        });
    }

    /// The lookups of a set as they were last read.
    pub(super) fn lookups(&self, set: &str) -> Option<Arc<Lookups>> {
        self.read(|known| known.lookups.get(set).map(|(_, lookups)| Arc::clone(lookups)))
    }

    /// Reads the tables, unless they are known. What the vendor refuses to show stays unknown.
    pub(super) async fn load_tables(&self, transport: &dyn Transport) -> Result<Option<Arc<Vec<Table>>>, VendorError> {
        let known = self.read(|known| known.tables.clone());
        if let Some((_, tables)) = known.filter(|(at, _)| at.elapsed() < TTL) {
            return Ok(Some(tables));
        }
        let Some(body) = fetch(transport, TABLES).await? else { return Ok(None) };
        let tables: Arc<Vec<Table>> = Arc::new(parse_value(&body)?);
        self.update(|known| known.tables = Some((Instant::now(), Arc::clone(&tables))));
        Ok(Some(tables))
    }

    /// Reads the tables, or the lookups of a set, for a request that can do without them: not for
    /// long, and not again at once. `false` if they were not loaded in time, now or a moment ago.
    pub(super) async fn load_in_time(
        &self,
        transport: &dyn Transport,
        lookups_of: Option<&str>,
    ) -> Result<bool, VendorError> {
        if self.read(|known| known.slow_at.is_some_and(|at| at.elapsed() < SLOW_DESCRIPTION_TTL)) {
            return Ok(false);
        }
        let loaded = load_within_limit(async {
            match lookups_of {
                Some(set) => self.load_lookups(transport, set).await,
                None => self.load_tables(transport).await.map(drop),
            }
        });
        match loaded.await {
            Err(fault) if fault.kind == VendorErrorKind::Timeout => {
                self.update(|known| known.slow_at = Some(Instant::now()));
                Ok(false)
            }
            // Metadata helps where it can be had. A vendor that does not respond, or accepts no
            // requests now, would not serve the request that needs it either.
            Err(fault) if !matches!(fault.kind, VendorErrorKind::ServerError | VendorErrorKind::InvalidResponse) => {
                Err(fault)
            }
            _ => Ok(true),
        }
    }

    /// Reads the lookups of a set, unless they are known.
    pub(super) async fn load_lookups(&self, transport: &dyn Transport, set: &str) -> Result<(), VendorError> {
        let is_fresh = |known: &CachedTables| known.lookups.get(set).is_some_and(|(at, _)| at.elapsed() < TTL);
        if self.read(is_fresh) {
            return Ok(());
        }
        let Some(tables) = self.load_tables(transport).await? else { return Ok(()) };
        let by_set = |table: &&Table| table.set.as_deref() == Some(set);
        let Some(table) = tables.iter().find(by_set).filter(|table| is_property(&table.name)) else { return Ok(()) };
        let resource = format!(
            "EntityDefinitions(LogicalName='{}')/ManyToOneRelationships?$select=ReferencingAttribute,\
             ReferencingEntityNavigationPropertyName,ReferencedEntity",
            table.name
        );
        let Some(body) = fetch(transport, &resource).await? else { return Ok(()) };
        let lookups = Arc::new(collect_lookups(&tables, parse_value(&body)?));
        self.update(|known| {
            if known.lookups.len() >= MAX_TABLES {
                known.lookups.clear();
            }
            known.lookups.insert(set.to_owned(), (Instant::now(), lookups));
        });
        Ok(())
    }
}

fn find<'k>(known: &'k CachedTables, set: &str) -> Option<&'k Table> {
    let (_, tables) = known.tables.as_ref()?;
    tables.iter().find(|table| table.set.as_deref() == Some(set))
}

/// The metadata at a resource; `None` if the account may not read it.
pub(super) async fn fetch(transport: &dyn Transport, resource: &str) -> Result<Option<Bytes>, VendorError> {
    match transport.send(metadata_request(resource)).await {
        Ok(response) => Ok(Some(response.body)),
        Err(fault)
            if matches!(
                fault.kind,
                VendorErrorKind::Forbidden | VendorErrorKind::NotFound | VendorErrorKind::Rejected
            ) || matches!(fault.status, Some(400 | 405 | 501)) =>
        {
            Ok(None)
        }
        Err(fault) => Err(fault),
    }
}

/// The items of `{"value": […]}`.
pub(super) fn parse_value<T: for<'de> Deserialize<'de>>(body: &Bytes) -> Result<Vec<T>, VendorError> {
    #[derive(Deserialize)]
    struct Items<T> {
        value: Vec<T>,
    }
    serde_json::from_slice::<Items<T>>(body).map(|items| items.value).map_err(unparseable_response)
}

/// A lookup with one of its targets.
#[derive(Deserialize)]
struct Relationship {
    #[serde(rename = "ReferencingAttribute")]
    attribute: Option<String>,
    #[serde(rename = "ReferencingEntityNavigationPropertyName")]
    navigation: Option<String>,
    #[serde(rename = "ReferencedEntity")]
    target: Option<String>,
}

fn collect_lookups(tables: &[Table], relationships: Vec<Relationship>) -> Lookups {
    let mut lookups = Lookups::new();
    for Relationship { attribute, navigation, target } in relationships {
        let (Some(attribute), Some(navigation), Some(target)) = (attribute, navigation, target) else { continue };
        let set = tables.iter().find(|table| table.name == target).and_then(|table| table.set.clone());
        let Some(set) = set.filter(|set| is_set(set) && is_property(&navigation)) else { continue };
        lookups.entry(attribute).or_default().push(Target { navigation, set });
    }
    lookups
}
