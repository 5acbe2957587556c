//! Matrix42, enterprise service management: fragments, the rows of a Data Definition.

mod access_token;
mod adapter;
mod column_cache;
mod fragment;
mod metadata;
mod page_cursor;
mod protocol;
mod schema;

pub(super) use adapter::FACTORY;
