//! Collections, schemas, and the check of writes before they are sent (contract 4.13); lists with
//! conditions.

mod all_errors;
mod documents;
mod filters;
mod generated_values;
mod rejections;
mod slow_descriptions;
mod system_documents;
mod unavailable;
