//! Behaviours of the journal, the same for both databases. PostgreSQL takes part if
//! `TEST_POSTGRES_URL` names a server.

mod batches;
mod crash;
mod cut;
mod db_failures;
mod feed;
mod fixtures;
mod hash_chain;
mod keys;
mod leases;
mod lists;
mod operations;
mod query_plans;
mod retention;
pub(crate) mod samples;
mod tampering;
mod verdicts;
