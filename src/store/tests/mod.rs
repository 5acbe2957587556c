//! Behaviours of the store, the same for both engines. PostgreSQL takes part where `TEST_POSTGRES_URL` names a server.

mod chain;
mod crash;
mod desk;
mod failing;
mod keys;
mod leases;
mod operations;
pub(super) mod place;
mod tampering;
