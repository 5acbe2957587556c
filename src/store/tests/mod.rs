//! Behaviours of the store, the same for both engines. PostgreSQL takes part where `TEST_POSTGRES_URL` names a server.

mod crash;
mod db_failures;
pub(super) mod fixtures;
mod hash_chain;
mod inline_path;
mod keys;
mod leases;
mod operations;
mod tampering;
