//! `[access.jwt]`: the issuer whose tokens authenticate callers.

use std::path::PathBuf;

use serde::de::{Error, IgnoredAny, Unexpected};
use serde::{Deserialize, Deserializer};
use url::Url;

use super::base_url::is_loopback;
use super::caller::CallerLimits;
use super::env_or_file::read_file;
use super::table_reader::TableReader;

/// `[access.jwt]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct JwtConfig {
    /// What `iss` must be, compared character by character.
    #[serde(deserialize_with = "not_empty")]
    pub issuer: String,
    /// What `aud` must be or contain, compared character by character.
    #[serde(deserialize_with = "not_empty")]
    pub audience: String,
    /// Where the issuer's public keys are.
    pub jwks: JwksLocation,
    /// What each caller may send (`default_limits`).
    #[serde(skip)]
    pub limits: CallerLimits,
}

/// `jwks`: a JSON Web Key Set (RFC 7517).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksLocation {
    /// Fetched, and fetched again when a token names a key that is not in it.
    Url(String),
    /// Read, and read again when the file changes. It was readable when the configuration was read.
    File(PathBuf),
}

/// More than any issuer publishes.
pub(crate) const MAX_JWKS_BYTES: u64 = 1_048_576;

const ISSUER: &str = "what the tokens' `iss` is, such as \"https://issuer.example/\"";
const AUDIENCE: &str = "what the tokens' `aud` is or contains: the gateway's name at the issuer";
const JWKS: &str = "\"https://issuer.example/keys\" or the path of a JSON file with a list \"keys\"";

impl JwtConfig {
    pub(super) const EXPECTED: &str = "a table [access.jwt] with issuer, audience and jwks";

    pub(super) fn read(table: TableReader<'_>) -> Option<Self> {
        table.require(&[("issuer", ISSUER), ("audience", AUDIENCE), ("jwks", JWKS)]);
        let jwt = table.read();
        table.reject_unknown(|_| None);
        jwt
    }
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() {
        return Err(D::Error::invalid_value(Unexpected::Other("is empty"), &"a string that is not empty"));
    }
    Ok(text)
}

impl<'de> Deserialize<'de> for JwksLocation {
    /// The errors do not show an address: it may hold a password.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = if text.contains("://") { parse_url(&text) } else { check_file(&text) };
        found.map_err(|message| D::Error::invalid_value(Unexpected::Other(&message), &JWKS))
    }
}

fn parse_url(text: &str) -> Result<JwksLocation, String> {
    let url = Url::parse(text).map_err(|_| "is not a URL".to_owned())?;
    let host = url.host().filter(|_| matches!(url.scheme(), "https" | "http"));
    let host = host.ok_or_else(|| "is not an https URL".to_owned())?;
    // Anybody who can change the keys on their way can impersonate every caller.
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

fn check_file(path: &str) -> Result<JwksLocation, String> {
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
