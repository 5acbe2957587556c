//! Pretectum, customer master data management: the data objects of a dataset.

mod adapter;
mod protocol;
mod scan;
mod vendor_warnings;

pub(super) use adapter::FACTORY;
