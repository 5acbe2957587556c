//! `[access.jwt]`: whose tokens callers bring.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use url::Url;

use super::base_url::is_loopback;
use super::reader::Entry;
use super::section::Section;
use super::text::{Text, read_file};

/// `[access.jwt]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// What `iss` must be, letter by letter.
    pub issuer: String,
    /// What `aud` must be or hold, letter by letter.
    pub audience: String,
    /// Where the issuer's public keys are.
    pub jwks: JwksLocation,
}

/// `jwks`: a JSON Web Key Set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksLocation {
    /// Fetched, and fetched again when a token names a key that is not in it.
    Url(String),
    /// Read, and read again when the file changes; it could be read when the configuration was.
    File(PathBuf),
}

/// More than any issuer publishes.
pub(crate) const MAX_JWKS_BYTES: u64 = 1_048_576;

const TABLE: &str = "a table [access.jwt] with issuer, audience and jwks";
const ISSUER: &str = "what the tokens' `iss` is, such as \"https://issuer.example/\"";
const AUDIENCE: &str = "what the tokens' `aud` is or holds: the gateway's name at the issuer";
const JWKS: &str = "\"https://issuer.example/keys\" or the path of a JSON file with a list \"keys\"";

impl JwtConfig {
    pub(super) fn read(access: &Section<'_, '_>, entry: Option<Entry<'_>>) -> Option<Self> {
        let Some(entry) = entry else {
            access.reader.missing(&access.place, "jwt", TABLE);
            return None;
        };
        let mut section = Section::of(access.reader, entry, TABLE)?;
        let issuer = section.required("issuer", ISSUER);
        let audience = section.required("audience", AUDIENCE);
        let jwks = section.required("jwks", JWKS).and_then(|text| jwks(&section, &text));
        section.finish(|_| None);
        Some(Self { issuer: issuer?.value, audience: audience?.value, jwks: jwks? })
    }
}

fn jwks(section: &Section<'_, '_>, text: &Text) -> Option<JwksLocation> {
    let found = if text.value.contains("://") { url(&text.value) } else { file(&text.value) };
    match found {
        Ok(found) => Some(found),
        Err(wrong) => {
            section.reader.fault(&text.place, wrong, JWKS);
            None
        }
    }
}

/// The faults do not show the address: it may hold a password.
fn url(text: &str) -> Result<JwksLocation, String> {
    let url = Url::parse(text).map_err(|_| "is not a URL".to_owned())?;
    let host = url.host().filter(|_| matches!(url.scheme(), "https" | "http"));
    let host = host.ok_or_else(|| "is not an https URL".to_owned())?;
    // Whoever can change this document on its way can be anybody.
    if url.scheme() == "http" && !is_loopback(&host) {
        return Err("would be fetched over http, where anybody can change it".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds credentials".to_owned());
    }
    if url.fragment().is_some() || url.port() == Some(0) {
        return Err("has a fragment or the port 0".to_owned());
    }
    Ok(JwksLocation::Url(url.into()))
}

fn file(path: &str) -> Result<JwksLocation, String> {
    #[derive(Deserialize)]
    struct Document {
        #[serde(rename = "keys")]
        _keys: Vec<IgnoredAny>,
    }
    let bytes = read_file(path, MAX_JWKS_BYTES)?;
    match serde_json::from_slice::<Document>(&bytes) {
        Ok(_) => Ok(JwksLocation::File(path.into())),
        Err(_) => Err(format!("the file {path:?} is not a JSON object with a list \"keys\" (RFC 7517 §5)")),
    }
}
