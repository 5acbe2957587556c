//! What each path responds. Every handler keeps the order of checks of contract 4.

pub(super) mod batch;
pub(super) mod batches;
pub(super) mod console;
pub(super) mod docs;
pub(super) mod health;
pub(super) mod home;
pub(super) mod ledger;
pub(super) mod operations;
pub(super) mod records;
pub(super) mod systems;
pub(super) mod writes;
