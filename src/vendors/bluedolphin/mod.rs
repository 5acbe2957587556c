//! BlueDolphin (ValueBlue), enterprise architecture: object definitions.

mod adapter;
mod protocol;
mod response_mapping;
mod update_mapping;

pub(super) use adapter::FACTORY;
