//! UUIDs of version 7 (RFC 9562 §5.7): ids that sort by the time of their creation.

use std::sync::Arc;

use uuid::Uuid;

/// A new id.
pub(super) fn generate() -> Arc<str> {
    to_text(Uuid::now_v7())
}

/// The canonical spelling of an id, if the text is a UUID of any version and spelling.
pub(super) fn parse(text: &str) -> Option<Arc<str>> {
    Uuid::try_parse(text).ok().map(to_text)
}

fn to_text(id: Uuid) -> Arc<str> {
    Arc::from(&*id.hyphenated().encode_lower(&mut Uuid::encode_buffer()))
}
