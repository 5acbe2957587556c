//! Models: one normalized shape over collections of several systems (contract 4.12).
//!
//! A model declares fields once. For each system a [`SystemMap`] says where and how the system
//! keeps them, with lossless codecs. A [`ModelPatch`] is a patch in the model's words that the
//! write pipeline applies to the record.

mod assignments;
mod codec;
mod create;
mod decimal;
mod document;
mod document_merge;
mod field;
mod filters;
mod fingerprint;
mod generate;
#[cfg(test)]
mod golden_tests;
mod laws;
mod map_index;
mod model;
mod patch;
mod patch_paths;
mod place;
mod system_map;
mod tags;
#[cfg(test)]
mod tests;
mod time;
mod translation;

pub use codec::{Codec, DateTimeForm, EnumWord};
pub use create::EncodedRecord;
pub use document::Document;
pub use field::{Field, FieldType, Format, ScalarType};
pub use fingerprint::MapFingerprint;
pub use laws::{BrokenLaw, check_laws};
pub use map_index::MapIndex;
pub use model::Model;
pub use patch::ModelPatch;
pub use place::Place;
pub use system_map::{Decoded, MapEntry, SystemMap};
pub use tags::{document_etag, model_etag};
pub use time::{Pattern, parse_zone};
