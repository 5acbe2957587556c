//! BlueDolphin (ValueBlue), enterprise architecture: object definitions.

mod adapter;
mod protocol;
mod response_mapping;
mod schema;
mod update_mapping;

pub(super) use adapter::FACTORY;
