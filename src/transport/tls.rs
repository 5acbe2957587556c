//! Which server certificates the gateway trusts.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use super::settings::StackError;

/// A client configuration that trusts the operating system's root certificates or, if one is
/// configured, the private CA alone.
pub(super) fn client_config(ca_certificate: Option<&Path>) -> Result<Arc<ClientConfig>, StackError> {
    let roots = match ca_certificate {
        Some(path) => private_roots(path)?,
        None => native_roots()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| StackError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    // HTTP/1.1 only: awc ends an HTTP/2 connection with an additional empty request, and does not
    // multiplex requests.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn private_roots(path: &Path) -> Result<RootCertStore, StackError> {
    let certificate_error = |why: String| StackError::Certificate { path: PathBuf::from(path), why };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| certificate_error(error.to_string()))? {
        let certificate = certificate.map_err(|error| certificate_error(error.to_string()))?;
        roots.add(certificate).map_err(|error| certificate_error(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(certificate_error("it contains no certificate".to_owned()));
    }
    Ok(roots)
}

fn native_roots() -> Result<RootCertStore, StackError> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        let why = loaded.errors.first().map_or_else(|| "none found".to_owned(), ToString::to_string);
        return Err(StackError::Tls(format!("the operating system's root certificates cannot be read: {why}")));
    }
    Ok(roots)
}
