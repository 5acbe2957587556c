//! Microsoft Dataverse, the database of Dynamics 365 and Power Apps, over its Web API 9.2.

mod adapter;
mod lookups;
mod organization;
mod protocol;
mod row;
mod schema;
mod tables;

pub(super) use adapter::FACTORY;
