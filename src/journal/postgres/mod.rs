//! The journal in a PostgreSQL database that replicas share.

mod columns;
mod pipeline;
mod server;
mod session;
mod statements;
mod writes;

pub(super) use server::{PostgresServer, check_server};
pub(super) use session::PostgresSession;
