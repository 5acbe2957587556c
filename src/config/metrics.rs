//! `[metrics]`.

use serde::Deserialize;

use super::table_reader::TableReader;

/// `[metrics]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct MetricsConfig {
    /// Whether the metrics of callers are kept by the names of callers with keys, too. Default no.
    pub caller_label: bool,
}

impl MetricsConfig {
    pub(super) fn read(table: TableReader<'_>) -> Self {
        let metrics = table.read().unwrap_or_default();
        table.reject_unknown(|_| None);
        metrics
    }
}
