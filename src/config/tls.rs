//! `server.tls`: who the gateway is to its callers, and whose certificates callers must have.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use super::section::Section;
use super::text::read_file;

/// `server.tls`: three PEM files. They fitted when the configuration was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    /// The gateway's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// Its private key (PKCS #8, PKCS #1 or SEC 1).
    pub private_key: PathBuf,
    /// The authorities of callers' certificates; with it a caller without one cannot connect.
    pub client_ca: Option<PathBuf>,
}

/// What the files hold.
#[derive(Clone, Debug)]
pub struct TlsIdentity {
    /// Certificate and key, which belong together.
    pub certified_key: Arc<CertifiedKey>,
    /// Checks callers' certificates, if they need one.
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

/// A bundle of all public authorities has a quarter of this.
const MAX_PEM_BYTES: u64 = 1_048_576;

const CERTIFICATE: &str = "the path of a PEM file: the server's certificate, then its chain";
const PRIVATE_KEY: &str = "the path of a PEM file with the private key of the certificate";
const CLIENT_CA: &str = "the path of a PEM file with the authorities of callers' certificates";

impl TlsConfig {
    pub(super) fn read(mut section: Section<'_, '_>) -> Option<Self> {
        let certificate = section.required("certificate", CERTIFICATE);
        let private_key = section.required("private_key", PRIVATE_KEY);
        let client_ca = section.text("client_ca", CLIENT_CA);
        let (certificate_place, key_place) =
            (certificate.as_ref().map(|text| text.place.clone()), private_key.as_ref().map(|text| text.place.clone()));
        let ca_place = client_ca.as_ref().map(|text| text.place.clone());
        let reader = section.reader;
        section.finish(|_| None);
        let tls = Self {
            certificate: certificate?.value.into(),
            private_key: private_key?.value.into(),
            client_ca: client_ca.map(|text| text.value.into()),
        };
        let faults = tls.faults();
        for TlsError { key, message: wrong } in &faults {
            let (place, valid) = match *key {
                "certificate" => (&certificate_place, CERTIFICATE),
                "private_key" => (&key_place, PRIVATE_KEY),
                _ => (&ca_place, CLIENT_CA),
            };
            if let Some(place) = place {
                reader.fault(place, wrong.clone(), valid);
            }
        }
        faults.is_empty().then_some(tls)
    }

    /// Everything that is wrong with the files: each by itself, or what they are together.
    fn faults(&self) -> Vec<TlsError> {
        let authorities = self.client_ca.as_ref().map(|path| certificates("client_ca", path).map(drop));
        let alone =
            [certificates("certificate", &self.certificate).map(drop), private_key(&self.private_key).map(drop)];
        let faults: Vec<_> = alone.into_iter().chain(authorities).filter_map(Result::err).collect();
        if faults.is_empty() { self.load().err().into_iter().collect() } else { faults }
    }

    /// Reads the files.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn load(&self) -> Result<TlsIdentity, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates("certificate", &self.certificate)?;
        let key = private_key(&self.private_key)?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                at("private_key", "is not the key of the certificate".to_owned())
            }
            Error::InvalidCertificate(why) => at("certificate", format!("cannot be used: {why}")),
            other => at("private_key", format!("cannot be used: {other}")),
        })?;
        let callers = match &self.client_ca {
            Some(path) => {
                let refused = |why: String| at("client_ca", format!("cannot be used: {why}"));
                let mut roots = RootCertStore::empty();
                for certificate in certificates("client_ca", path)? {
                    roots.add(certificate).map_err(|error| refused(error.to_string()))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                Some(verifier.map_err(|error| refused(error.to_string()))?)
            }
            None => None,
        };
        Ok(TlsIdentity { certified_key: Arc::new(certified), client_verifier: callers })
    }
}

fn at(key: &'static str, wrong: String) -> TlsError {
    TlsError { key, message: wrong }
}

fn bytes(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    read_file(&path.to_string_lossy(), MAX_PEM_BYTES).map_err(|wrong| at(key, wrong))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = bytes(key, path)?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(|error| at(key, format!("the file is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(at(key, "the file holds no PEM certificate".to_owned()));
    }
    Ok(found)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = bytes("private_key", path)?;
    // The parser's own words could show a part of the key.
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| at("private_key", "the file holds no PEM private key (PKCS #8, PKCS #1 or SEC 1)".to_owned()))
}
