//! `server.tls`: the gateway's certificate, and the authorities of callers' certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use serde::Deserialize;

use super::env_or_file::read_file;
use super::table_reader::TableReader;

/// `server.tls`: three PEM files. They were valid when the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct TlsConfig {
    /// The gateway's certificate, then its chain.
    pub certificate: PathBuf,
    /// Its private key (PKCS #8, PKCS #1 or SEC 1).
    pub private_key: PathBuf,
    /// The authorities of callers' certificates. With it, a caller needs such a certificate to
    /// connect.
    pub client_ca: Option<PathBuf>,
}

/// The contents of the files.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// The certificate with its private key.
    pub certified_key: Arc<CertifiedKey>,
    /// Verifies callers' certificates, if callers need one.
    pub client_verifier: Option<Arc<dyn ClientCertVerifier>>,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {message}")]
pub struct TlsError {
    /// The key of `server.tls` that names the file.
    pub key: &'static str,
    /// What is wrong.
    pub message: String,
}

/// A bundle of all public authorities has a quarter of this size.
const MAX_PEM_BYTES: u64 = 1_048_576;

const CERTIFICATE: &str = "the path of a PEM file: the server's certificate, then its chain";
const PRIVATE_KEY: &str = "the path of a PEM file with the private key of the certificate";
const CLIENT_CA: &str = "the path of a PEM file with the authorities of callers' certificates";

impl TlsConfig {
    pub(super) const EXPECTED: &str =
        "{ certificate = \"PATH\", private_key = \"PATH\" }, and client_ca for mutual TLS";

    pub(super) fn read(table: TableReader<'_>) -> Option<Self> {
        table.require(&[("certificate", CERTIFICATE), ("private_key", PRIVATE_KEY)]);
        let tls: Option<Self> = table.read();
        let errors = tls.as_ref().map(Self::check_files).unwrap_or_default();
        for TlsError { key, message } in &errors {
            let expected = match *key {
                "certificate" => CERTIFICATE,
                "private_key" => PRIVATE_KEY,
                _ => CLIENT_CA,
            };
            table.error(key, message, expected);
        }
        table.reject_unknown(|_| None);
        tls.filter(|_| errors.is_empty())
    }

    /// The errors of each file; if there are none, the first error of the files together.
    fn check_files(&self) -> Vec<TlsError> {
        let authorities = self.client_ca.as_ref().map(|path| certificates("client_ca", path).map(drop));
        let alone =
            [certificates("certificate", &self.certificate).map(drop), private_key(&self.private_key).map(drop)];
        let errors: Vec<_> = alone.into_iter().chain(authorities).filter_map(Result::err).collect();
        if errors.is_empty() { self.load().err().into_iter().collect() } else { errors }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// The first error of the files.
    pub fn load(&self) -> Result<TlsIdentity, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates("certificate", &self.certificate)?;
        let key = private_key(&self.private_key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                tls_error("private_key", "is not the key of the certificate".to_owned())
            }
            Error::InvalidCertificate(why) => tls_error("certificate", format!("cannot be used: {why}")),
            other => tls_error("private_key", format!("cannot be used: {other}")),
        })?;
        let client_verifier = match &self.client_ca {
            Some(path) => {
                let unusable = |why: String| tls_error("client_ca", format!("cannot be used: {why}"));
                let mut roots = RootCertStore::empty();
                for certificate in certificates("client_ca", path)? {
                    roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                Some(verifier.map_err(|error| unusable(error.to_string()))?)
            }
            None => None,
        };
        Ok(TlsIdentity { certified_key: Arc::new(certified), client_verifier })
    }
}

fn tls_error(key: &'static str, message: String) -> TlsError {
    TlsError { key, message }
}

/// Checks that a file holds PEM certificates.
pub(super) fn check_certificates(path: &Path) -> Result<(), String> {
    const HEADER: &[u8] = b"-----BEGIN CERTIFICATE-----";
    let bytes = read_file(&path.to_string_lossy(), MAX_PEM_BYTES)?;
    let is_pem = bytes.windows(HEADER.len()).any(|window| window == HEADER);
    if is_pem { Ok(()) } else { Err("the file holds no PEM certificate".to_owned()) }
}

fn read_bytes(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_file(&path.to_string_lossy(), MAX_PEM_BYTES).map_err(|message| tls_error(key, message))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_bytes(key, path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| tls_error(key, format!("the file is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(tls_error(key, "the file holds no PEM certificate".to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read_bytes("private_key", path)?;
    // The parser's own message could show a part of the key.
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        tls_error("private_key", "the file holds no PEM private key (PKCS #8, PKCS #1 or SEC 1)".to_owned())
    })
}
