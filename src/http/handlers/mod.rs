//! What each path responds. Every handler keeps the order of checks of contract 4.

pub(super) mod batch;
pub(super) mod changes;
pub(super) mod collections;
pub(super) mod console;
pub(super) mod docs;
pub(super) mod health;
pub(super) mod home;
pub(super) mod ledger;
pub(super) mod ledger_chain;
pub(super) mod models;
pub(super) mod operations;
pub(super) mod operator_actions;
pub(super) mod previews;
pub(super) mod record_reads;
pub(super) mod record_writes;
pub(super) mod status;
pub(super) mod stored_batches;
pub(super) mod systems;
