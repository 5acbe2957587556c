//! Pretectum, customer master data management: the data objects of a dataset.

mod adapter;
mod date_pattern;
mod metadata;
mod page_cache;
mod protocol;
mod scan;
mod schema;
mod search;
mod vendor_warnings;

pub(super) use adapter::FACTORY;
