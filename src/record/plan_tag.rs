//! The tag of a previewed write (contract 4.11). It holds a digest of each part of the write and
//! its expiry, authenticated with a key that all replicas have: nothing is stored for a plan, and
//! nothing that a caller made up is accepted.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};

/// What every plan tag begins with.
const PREFIX: &str = "p.";
const EXPIRY_BYTES: usize = 8;
const DIGEST_BYTES: usize = 12;
const DIGESTS_BYTES: usize = PlanPart::COMPARED.len() * DIGEST_BYTES;
const BODY_BYTES: usize = EXPIRY_BYTES + DIGESTS_BYTES;

/// The key that authenticates the tags of plans.
#[derive(Clone)]
pub struct PlanKey([u8; blake3::KEY_LEN]);

impl PlanKey {
    /// The key of these bytes.
    #[must_use]
    pub fn new(bytes: [u8; blake3::KEY_LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PlanKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PlanKey(…)")
    }
}

/// In what a write differs from its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlanPart {
    /// The record, or its state.
    BasedOn,
    /// The request to the vendor.
    Calls,
    /// What the write destroys besides.
    Losses,
    /// How concurrent writers are excluded.
    Guarantee,
    /// How records are translated: the adapter of this version.
    Mapping,
    /// The caller.
    Caller,
    /// The plan is no longer valid.
    Expired,
}

impl PlanPart {
    /// The parts that are compared, in the order of their digests.
    const COMPARED: [Self; 6] =
        [Self::BasedOn, Self::Calls, Self::Losses, Self::Guarantee, Self::Mapping, Self::Caller];

    /// The word in `differs`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BasedOn => "based_on",
            Self::Calls => "calls",
            Self::Losses => "losses",
            Self::Guarantee => "guarantee",
            Self::Mapping => "mapping",
            Self::Caller => "caller",
            Self::Expired => "expired",
        }
    }
}

/// The digests of a write's parts.
#[derive(Clone, PartialEq, Eq)]
pub struct PlanDigests([u8; DIGESTS_BYTES]);

impl PlanDigests {
    /// Digests each part; `values` gives the values of a part, in their order.
    #[must_use]
    pub fn new<V: AsRef<[u8]>>(key: &PlanKey, mut values: impl FnMut(PlanPart) -> Vec<V>) -> Self {
        let mut digests = [0; DIGESTS_BYTES];
        for ((index, part), digest) in (0_u8..).zip(PlanPart::COMPARED).zip(digests.chunks_exact_mut(DIGEST_BYTES)) {
            let mut hasher = blake3::Hasher::new_keyed(&key.0);
            hasher.update(&[index]);
            for value in values(part) {
                let bytes = value.as_ref();
                hasher.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
            }
            hasher.finalize_xof().fill(digest);
        }
        Self(digests)
    }
}

/// The tag of a plan, as it was made or as a caller sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanTag(Box<str>);

impl PlanTag {
    /// Makes the tag of a plan that expires at this time, in milliseconds since 1970.
    #[must_use]
    pub fn issue(key: &PlanKey, digests: &PlanDigests, expires_ms: u64) -> Self {
        let mut bytes = Vec::with_capacity(BODY_BYTES + blake3::OUT_LEN);
        bytes.extend(expires_ms.to_be_bytes());
        bytes.extend(digests.0);
        let mac = authenticate(key, &bytes);
        bytes.extend(mac.as_bytes());
        Self([PREFIX, &BASE64.encode(bytes)].concat().into())
    }

    /// Reads the text between the quotes; `None` if it is no plan tag by its form.
    #[must_use]
    pub fn parse(opaque: &str) -> Option<Self> {
        opaque.starts_with(PREFIX).then(|| Self(opaque.into()))
    }

    /// The text between the quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag with its quotes.
    #[must_use]
    pub fn to_header(&self) -> String {
        ["\"", &self.0, "\""].concat()
    }

    /// In what a write with these digests differs from the plan; empty if the plan fits. A tag that
    /// was not made with the key differs in everything. A plan is expired, too, that would expire
    /// more than `max_ttl_ms` from now.
    #[must_use]
    pub fn differences(&self, key: &PlanKey, digests: &PlanDigests, now_ms: u64, max_ttl_ms: u64) -> Vec<PlanPart> {
        let Some((expires_ms, planned)) = self.open(key) else { return PlanPart::COMPARED.to_vec() };
        let pairs = planned.chunks_exact(DIGEST_BYTES).zip(digests.0.chunks_exact(DIGEST_BYTES));
        let differs = PlanPart::COMPARED.into_iter().zip(pairs).filter(|(_, (planned, now))| planned != now);
        let is_valid = now_ms < expires_ms && expires_ms - now_ms <= max_ttl_ms;
        let expired = (!is_valid).then_some(PlanPart::Expired);
        differs.map(|(part, _)| part).chain(expired).collect()
    }

    /// The expiry and the digests; `None` if the key has not made this tag.
    fn open(&self, key: &PlanKey) -> Option<(u64, Vec<u8>)> {
        let bytes = BASE64.decode(self.0.strip_prefix(PREFIX)?).ok()?;
        let (body, mac) = bytes.split_at_checked(BODY_BYTES)?;
        let mac: [u8; blake3::OUT_LEN] = mac.try_into().ok()?;
        // This comparison takes the same time whatever differs.
        if authenticate(key, body) != blake3::Hash::from_bytes(mac) {
            return None;
        }
        let (expires, digests) = body.split_at_checked(EXPIRY_BYTES)?;
        Some((u64::from_be_bytes(expires.try_into().ok()?), digests.to_vec()))
    }
}

fn authenticate(key: &PlanKey, body: &[u8]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_keyed(&key.0);
    hasher.update(b"plan tag").update(body);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn digests(key: [u8; 32], changed: Option<PlanPart>) -> PlanDigests {
        PlanDigests::new(&PlanKey::new(key), |part| {
            vec![part.as_str(), if changed == Some(part) { "changed" } else { "planned" }]
        })
    }

    fn differences(tag: &PlanTag, digests: &PlanDigests, now_ms: u64) -> Vec<PlanPart> {
        tag.differences(&PlanKey::new(KEY), digests, now_ms, 1000)
    }

    #[test]
    fn a_plan_fits_only_the_very_write_that_was_previewed() {
        let tag = PlanTag::issue(&PlanKey::new(KEY), &digests(KEY, None), 1000);
        assert_eq!(PlanTag::parse(tag.as_str()), Some(tag.clone()));
        assert_eq!(differences(&tag, &digests(KEY, None), 999), []);
        for part in PlanPart::COMPARED {
            assert_eq!(differences(&tag, &digests(KEY, Some(part)), 999), [part]);
        }
        assert_eq!(differences(&tag, &digests(KEY, None), 1000), [PlanPart::Expired]);
        assert_eq!(tag.differences(&PlanKey::new(KEY), &digests(KEY, None), 500, 500), []);
        assert_eq!(tag.differences(&PlanKey::new(KEY), &digests(KEY, None), 500, 499), [PlanPart::Expired]);
    }

    #[test]
    fn a_tag_that_was_not_made_with_the_key_differs_in_everything() {
        let planned = digests(KEY, None);
        let tag = PlanTag::issue(&PlanKey::new(KEY), &planned, 1000);
        let foreign = PlanTag::issue(&PlanKey::new([8; 32]), &planned, 1000);
        assert_eq!(differences(&foreign, &planned, 0), PlanPart::COMPARED);
        let bytes = BASE64.decode(&tag.as_str()[PREFIX.len()..]).expect("bytes");
        for index in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[index] ^= 1;
            let forged = PlanTag::parse(&[PREFIX, &BASE64.encode(forged)].concat()).expect("a tag");
            assert_eq!(differences(&forged, &planned, 0), PlanPart::COMPARED, "byte {index}");
        }
        for text in ["p.", "p.AAAA", "p.ä", &tag.as_str()[..20]] {
            assert_eq!(differences(&PlanTag::parse(text).expect("a tag"), &planned, 0), PlanPart::COMPARED, "{text}");
        }
        assert_eq!(PlanTag::parse("c7.x"), None);
    }

    #[test]
    fn adjacent_values_have_distinct_digests() {
        let of = |values: &[&str]| PlanDigests::new(&PlanKey::new(KEY), |_| values.to_vec());
        assert!(of(&["ab", "c"]) != of(&["a", "bc"]) && of(&["ab"]) != of(&["ab", ""]));
    }
}
