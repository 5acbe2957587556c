//! Collections, schemas, and the check of writes before they are sent (contract 4.13).

mod documents;
mod refusals;
mod unavailable;
