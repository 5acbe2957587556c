//! Versions of a record and the entity tags that stand for them (RFC 9110 §8.8.3).

use std::hash::Hasher as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde_json::{Map, Value};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::id::{RecordId, SystemName};
use super::json_write::write_canonical;
use super::sha256::sha256;

/// What identifies one state of a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// A number that grows with each change, such as Pretectum's `_version`.
    Sequence(u64),
    /// Eight opaque bytes, such as Matrix42's `TimeStamp`, a SQL Server row version.
    RowVersion([u8; 8]),
    /// An opaque text, such as Dataverse's `W/"12345"`.
    Text(Box<str>),
    /// The first half of a SHA-256 over the canonical form of `fields`, for vendors that have no
    /// version.
    Digest([u8; 16]),
}

/// The key of the hash that binds a tag to its record. It changes with the form of the tag.
const RECORD_HASH_KEY: &[u8; 16] = b"record tag no. 2";
const RECORD_HASH_BYTES: usize = 9;
/// Capacity for the longest encoded version.
const MAX_ENCODED_LEN: usize = 24;

impl Version {
    /// The version of a record that has none of its own: a digest of its `fields`. It does not
    /// depend on the order of members and depends on the form of numbers.
    #[must_use]
    pub fn from_fields(fields: &Map<String, Value>) -> Self {
        Self::from_fields_with_surrogates(fields, &[])
    }

    /// The same where `fields` shows U+FFFD for lone surrogates: they count, too, so that two
    /// states that differ only in them have two versions.
    #[must_use]
    pub fn from_fields_with_surrogates(fields: &Map<String, Value>, lone_surrogates: &[u16]) -> Self {
        let mut text = String::with_capacity(1024);
        write_canonical(&mut text, fields);
        text.extend(lone_surrogates.iter().map(|half| format!("\\u{half:04x}")));
        let digest = sha256([text.as_bytes()]);
        let mut half = [0; 16];
        half.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Self::Digest(half)
    }

    fn encode(&self) -> String {
        let coded = |kind: &str, bytes: &[u8]| {
            let mut text = String::with_capacity(MAX_ENCODED_LEN);
            text.push_str(kind);
            BASE64.encode_string(bytes, &mut text);
            text
        };
        match self {
            Self::Sequence(number) => format!("c{number}"),
            Self::RowVersion(bytes) => coded("r", bytes),
            Self::Text(text) => coded("t", text.as_bytes()),
            Self::Digest(bytes) => coded("d", bytes),
        }
    }

    fn decode(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_at_checked(1)?;
        // Each version has exactly one text: this base64 accepts neither padding nor unused bits.
        match kind {
            "c" => rest.parse().ok().map(Self::Sequence).filter(|version| version.encode() == text),
            "r" => BASE64.decode(rest).ok()?.try_into().ok().map(Self::RowVersion),
            "t" => String::from_utf8(BASE64.decode(rest).ok()?).ok().map(|text| Self::Text(text.into())),
            "d" => BASE64.decode(rest).ok()?.try_into().ok().map(Self::Digest),
            _ => None,
        }
    }
}

/// An entity tag: a member of an `If-Match` or `If-None-Match` list, or the `ETag` of a response.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntityTag {
    weak: bool,
    opaque: Box<str>,
}

impl EntityTag {
    /// The strong tag of one state of one record.
    ///
    /// The tag carries the version itself, so that a conditional write needs no read. It also
    /// carries 72 bits of a hash over system, id and version, so that the tag of another record
    /// never matches. It depends on nothing else: every replica computes the same tag, before and
    /// after a restart. The hash (SipHash-2-4) detects mistakes and is not a signature: a caller
    /// that forges a tag could as well have sent `*`.
    #[must_use]
    pub fn for_version(system: &SystemName, id: &RecordId, version: &Version) -> Self {
        let encoded = version.encode();
        let binding = record_hash(system, id, &encoded);
        Self { weak: false, opaque: [encoded.as_str(), ".", &binding].concat().into() }
    }

    /// The strong tag of the same state in the words of a map, whose fingerprint is `map`. It
    /// matches no tag of the record itself, nor one of another map.
    #[must_use]
    pub fn mapped(&self, map: &str) -> Self {
        Self { weak: false, opaque: ["m", &self.opaque, ".", map].concat().into() }
    }

    /// The record's tag and the map's fingerprint, if this has the form of a mapped tag.
    #[must_use]
    pub fn split_mapped(&self) -> Option<(Self, &str)> {
        let (tag, map) = self.opaque.strip_prefix('m')?.rsplit_once('.')?;
        let record = Self { weak: self.weak, opaque: tag.into() };
        record.has_own_form().then_some((record, map))
    }

    /// A tag from a request; `opaque` is the text between the quotes.
    #[must_use]
    pub fn from_header(weak: bool, opaque: &str) -> Self {
        Self { weak, opaque: opaque.into() }
    }

    /// The version that this tag carries, if it is a strong tag of this record.
    #[must_use]
    pub fn version_for(&self, system: &SystemName, id: &RecordId) -> Option<Version> {
        if self.weak {
            return None;
        }
        let (encoded, bound) = self.opaque.rsplit_once('.')?;
        let version = Version::decode(encoded)?;
        (record_hash(system, id, encoded) == bound).then_some(version)
    }

    /// What the tag of a request is to a record.
    #[must_use]
    pub fn origin(&self, system: &SystemName, id: &RecordId) -> TagOrigin {
        match self {
            Self { weak: true, .. } => TagOrigin::Weak,
            _ if self.version_for(system, id).is_some() => TagOrigin::ThisRecord,
            _ if self.has_own_form() => TagOrigin::OtherRecord,
            _ if self.split_mapped().is_some() => TagOrigin::Model,
            _ => TagOrigin::Unknown,
        }
    }

    fn has_own_form(&self) -> bool {
        self.opaque.rsplit_once('.').is_some_and(|(encoded, bound)| {
            Version::decode(encoded).is_some() && BASE64.decode(bound).is_ok_and(|hash| hash.len() == RECORD_HASH_BYTES)
        })
    }

    /// Whether this is a weak tag.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.weak
    }

    /// The tag as a header value.
    #[must_use]
    pub fn to_header(&self) -> String {
        [if self.weak { "W/\"" } else { "\"" }, &self.opaque, "\""].concat()
    }

    /// Strong comparison (RFC 9110 §8.8.3.2), for `If-Match`.
    #[must_use]
    pub fn matches_strongly(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }

    /// Weak comparison (RFC 9110 §8.8.3.2), for `If-None-Match`.
    #[must_use]
    pub fn matches_weakly(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }
}

impl std::fmt::Display for EntityTag {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.to_header())
    }
}

/// What the tag of a request is to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagOrigin {
    /// A weak tag, which never matches in `If-Match`.
    Weak,
    /// The tag of a state of this record.
    ThisRecord,
    /// The tag of another record.
    OtherRecord,
    /// The tag of a model's document.
    Model,
    /// No tag that the gateway gives.
    Unknown,
}

fn record_hash(system: &SystemName, id: &RecordId, encoded: &str) -> String {
    let mut hasher = SipHasher24::new_with_key(RECORD_HASH_KEY);
    for part in [system.as_str(), id.as_str(), encoded] {
        hasher.write(part.as_bytes());
        hasher.write_u8(0);
    }
    BASE64.encode(hasher.finish128().as_bytes().get(..RECORD_HASH_BYTES).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (SystemName, RecordId) {
        (SystemName::parse("crm").expect("a name"), RecordId::new("a:b:c", "d"))
    }

    #[test]
    fn an_etag_decodes_to_its_version_only_for_its_own_record() {
        let (system, id) = names();
        for version in [
            Version::Sequence(7),
            Version::RowVersion([0, 0, 0, 0, 0x46, 0xbb, 0x99, 0x4e]),
            Version::Text("W/\"12345\"".into()),
            Version::Digest([9; 16]),
        ] {
            let tag = EntityTag::for_version(&system, &id, &version);
            assert_eq!(tag.version_for(&system, &id), Some(version.clone()));
            assert_eq!(tag.version_for(&system, &RecordId::new("a:b:c", "e")), None);
            let elsewhere = SystemName::parse("crm2").expect("a name");
            assert_eq!(tag.version_for(&elsewhere, &id), None);
        }
    }

    #[test]
    fn the_tag_of_a_map_is_none_of_the_record() {
        let (system, id) = names();
        let version = Version::Sequence(7);
        let plain = EntityTag::for_version(&system, &id, &version);
        let mapped = plain.mapped("AAAAAAAAAAAA");
        assert_eq!(mapped.version_for(&system, &id), None);
        assert_eq!(mapped.origin(&system, &id), TagOrigin::Model);
        assert_eq!(mapped.split_mapped(), Some((plain.clone(), "AAAAAAAAAAAA")));
        assert_eq!(plain.split_mapped(), None);
    }

    #[test]
    fn a_content_version_ignores_only_member_order_and_white_space() {
        let version = |text: &str| Version::from_fields(&serde_json::from_str(text).expect("an object"));
        let known = version(r#"{"a":1,"b":{"c":2,"d":3}}"#);
        assert_eq!(known, version(r#"{ "b": {"d":3,"c":2}, "a":1}"#));
        for other in [r#"{"a":1.0,"b":{"c":2,"d":3}}"#, r#"{"a":1,"b":{"c":2}}"#, r#"{"a":"1","b":{"c":2,"d":3}}"#] {
            assert_ne!(known, version(other), "{other}");
        }
    }

    #[test]
    fn a_weak_or_foreign_etag_has_no_version() {
        let (system, id) = names();
        for opaque in ["", "7", "c7", "c7.", "c07.AAAAAAAAAAAA", "x.y", "ä"] {
            assert_eq!(EntityTag::from_header(false, opaque).version_for(&system, &id), None, "{opaque}");
        }
        // Other spellings of a number, and of eight bytes: with padding, white space, or an unused
        // last bit that is set.
        for encoded in
            ["c07", "c+7", "c", "rAAAAAEa7mU4=", "rAAAAAEa7mU4 ", "rAAAAAEa7mU5", "rAAAAAEa7mU", "rAAAAAEa7mU4AA"]
        {
            let tag = EntityTag::from_header(false, &format!("{encoded}.{}", record_hash(&system, &id, encoded)));
            assert_eq!(tag.version_for(&system, &id), None, "{encoded}");
        }
        let eight =
            EntityTag::from_header(false, &format!("rAAAAAEa7mU4.{}", record_hash(&system, &id, "rAAAAAEa7mU4")));
        assert!(eight.version_for(&system, &id).is_some());
        let strong = EntityTag::for_version(&system, &id, &Version::Sequence(7));
        let weak = EntityTag::from_header(true, &strong.opaque);
        assert_eq!(weak.version_for(&system, &id), None);
        assert!(weak.matches_weakly(&strong) && !weak.matches_strongly(&strong));
        let origins = [&weak, &strong, &EntityTag::from_header(false, "v7")].map(|tag| tag.origin(&system, &id));
        assert_eq!(origins, [TagOrigin::Weak, TagOrigin::ThisRecord, TagOrigin::Unknown]);
        assert_eq!(strong.origin(&system, &RecordId::new("a:b:c", "e")), TagOrigin::OtherRecord);
    }
}
