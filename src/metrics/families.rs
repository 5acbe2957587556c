//! The metric families: their names, labels, help texts and buckets.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

/// One metric family.
pub(super) struct Family {
    pub(super) name: &'static str,
    labels: &'static [&'static str],
    pub(super) help: &'static str,
}

macro_rules! families {
    ($($constant:ident $name:literal $labels:expr, $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family { name: $name, labels: &$labels, help: $help };)*
        #[cfg(test)]
        pub(super) const FAMILIES: &[&Family] = &[$(&$constant,)*];
    };
}

families! {
    REQUESTS "gateway_requests_total" ["system", "action", "outcome"],
        "Requests responded to, by outcome: ok or the name of the problem.";
    REQUEST_SECONDS "gateway_request_duration_seconds" ["system", "action"],
        "Time from a request's head to its response, in seconds.";
    IN_FLIGHT "gateway_in_flight" ["system"],
        "Requests in progress.";
    VENDOR_REQUESTS "vendor_requests_total" ["system", "call", "outcome"],
        "Vendor requests, by the class of their responses or by the failure.";
    VENDOR_SECONDS "vendor_request_duration_seconds" ["system", "call"],
        "Time from sending a vendor request to the last byte of the vendor's response, in seconds.";
    RETRIES "vendor_retries_total" ["system", "reason"],
        "Vendor requests sent again, by the reason why the previous one failed.";
    CIRCUIT "vendor_circuit_state" ["system"],
        "State of the circuit to the vendor: 0 closed, 1 half-open, 2 open.";
    QUEUE "vendor_queue_depth" ["system"],
        "Vendor requests that wait in the queue.";
    QUEUE_WAIT "vendor_queue_wait_seconds" ["system", "lane"],
        "Time that a vendor request waited in the queue, in seconds; those that need not wait are not counted.";
    REFRESHES "token_refreshes_total" ["system", "outcome"],
        "Authentications at the vendor: ok, refused (the credentials) or failed (anything else).";
    CREDENTIAL_FALLBACKS "credential_fallbacks_total" ["system"],
        "Times that the second of a system's secrets took over, because the vendor rejected the first.";
    TOKEN_EXPIRES "token_expires_timestamp_seconds" ["system"],
        "When the vendor's current token expires, in seconds since 1970; absent for keys that do not expire.";
    PRECONDITIONS "precondition_failures_total" ["system", "detected_by"],
        "Writes rejected because the record had changed, by the side that detected it: the gateway or the vendor.";
    CONFLICT_RETRIES "conflict_retries_total" ["system"],
        "Writes that read again and tried again after a conflict.";
    CONTENDED "contended_total" ["system"],
        "Writes with If-Match: * that met a conflict at every try.";
    REBASES "rebases_total" ["system", "outcome"],
        "Writes with Prefer: rebase=disjoint whose tag was stale: applied, overlap (both changed one place), unknown-base (the tag's state is not known) or lost (conflicts until the deadline).";
    PLANS "plans_total" ["system", "outcome"],
        "Plans that previews made, and writes with If-Plan: applied, changed (the write differs from its plan) or expired.";
    WRITES_UNKNOWN "writes_unknown" ["system"],
        "Writes whose outcome is not known: those being reconciled, and those that ended unknown and that nobody has resolved. Replicas on one PostgreSQL report the same writes: take the maximum, not the sum.";
    OLDEST_UNKNOWN "writes_unknown_oldest_timestamp_seconds" ["system"],
        "When the oldest of the writes in writes_unknown began, in seconds since 1970; absent without one.";
    OPERATIONS "operations_running" ["system"],
        "Operations that are running.";
    RESOLVED "operations_resolved_total" ["system", "state"],
        "Operations that a person has ended, by the state in which.";
    CHANGES "changes_total" ["system", "type", "origin"],
        "Events of the feed of changes: record.created, record.updated, record.deleted or system.gap.";
    CHANGES_STREAMS "changes_streams" [],
        "Streams of changes that are open.";
    REPLAYS "idempotent_replays_total" [],
        "Stored responses returned again for an Idempotency-Key.";
    SCHEMA_REFUSALS "schema_refusals_total" ["system", "rule"],
        "Values that the gateway refused or warned of because they break the vendor's schema, by the rule.";
    SCHEMA_UNAVAILABLE "schema_unavailable_total" ["system"],
        "Writes that were not checked because the vendor's schema was not available.";
    LOSSES "losses_accepted_total" ["system", "loss"],
        "Writes made although they destroy other data, by the name of the loss.";
    UNMAPPED "model_unmapped_values_total" ["model"],
        "Values of records that a model's map could not read.";
    LEDGER_ENTRIES "ledger_entries_total" [],
        "Entries written to the ledger since the start.";
    LEDGER_SECONDS "ledger_commit_duration_seconds" [],
        "Time to commit to the ledger, in seconds.";
    BATCH_ITEMS "gateway_batch_items_total" ["system", "action", "outcome"],
        "Items of batches that ended, by outcome: ok or the name of the problem.";
    BATCH_SIZE "gateway_batch_size" [],
        "Items of each batch.";
    BATCHES_RUNNING "gateway_batches_running" [],
        "Batches that run.";
    RELOADS "config_reloads_total" ["what", "outcome"],
        "Reloads of changed files, by their content and by outcome: ok or refused (the previous content stays in force).";
    QUOTA_REFUSALS "quota_refusals_total" ["policy"],
        "Requests rejected because their caller exceeded its own limit, by the limit: rate or in-flight.";
    CALLER_QUOTA_REFUSALS "caller_quota_refusals_total" ["policy", "caller"],
        "The same by caller; only where caller_label is on.";
    CALLER_KEY_EXPIRES "caller_key_expires_timestamp_seconds" ["caller"],
        "When the last key of a caller expires, in seconds since 1970; only where caller_label is on.";
    VENDOR_KEY_EXPIRES "vendor_key_expires_timestamp_seconds" ["system"],
        "When the gateway's key of a system expires, in seconds since 1970; only where the key says so.";
    BUILD "build_info" ["version", "revision"],
        "Always 1; the labels identify the running build.";
}

/// 1 ms to the longest deadline: a vendor's call and a request alike.
pub(super) const CALL_BUCKETS: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// One item to the most that a batch can have.
pub(super) const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 1000.0, 10_000.0];

/// A write-ahead log on a fast disk takes tenths of a millisecond, a busy one a second.
pub(super) const COMMIT_BUCKETS: [f64; 11] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0];

/// Creates the families of the table and registers them.
pub(super) struct Registrar<'r>(pub(super) &'r Registry);

impl Registrar<'_> {
    pub(super) fn register_counters(&self, family: &Family) -> Result<IntCounterVec, prometheus::Error> {
        let vec = IntCounterVec::new(Opts::new(family.name, family.help), family.labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    pub(super) fn register_gauges(&self, family: &Family) -> Result<IntGaugeVec, prometheus::Error> {
        let vec = IntGaugeVec::new(Opts::new(family.name, family.help), family.labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    pub(super) fn register_histograms(
        &self,
        family: &Family,
        buckets: &[f64],
    ) -> Result<HistogramVec, prometheus::Error> {
        let options = HistogramOpts::new(family.name, family.help).buckets(buckets.to_vec());
        let vec = HistogramVec::new(options, family.labels)?;
        self.0.register(Box::new(vec.clone()))?;
        Ok(vec)
    }
}
