//! TLS for callers: the certificate can be replaced while connections are open.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use super::file_watcher::FileWatcher;
use crate::config::{TlsConfig, TlsError, TlsIdentity};

/// The names of the protocols in ALPN (RFC 7301, RFC 9113 §3.1).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";
const ALPN_HTTP1: &[u8] = b"http/1.1";

/// The files of `server.tls` with their last valid content.
pub(super) struct ReloadableTls {
    files: TlsConfig,
    watcher: FileWatcher,
    identity: Arc<CurrentIdentity>,
}

/// The identity that new handshakes use.
#[derive(Debug)]
struct CurrentIdentity(ArcSwap<TlsIdentity>);

impl ReloadableTls {
    /// Reads the files.
    pub(super) fn new(files: &TlsConfig) -> Result<Self, TlsError> {
        let watcher =
            FileWatcher::new([&*files.certificate, &*files.private_key].into_iter().chain(files.client_ca.as_deref()));
        let identity = files.load()?;
        Ok(Self { files: files.clone(), watcher, identity: Arc::new(CurrentIdentity(ArcSwap::from_pointee(identity))) })
    }

    /// The configuration for the listener; `http2` = offer HTTP/2 before HTTP/1.1 (ALPN).
    pub(super) fn server_config(&self, http2: bool) -> Result<ServerConfig, Error> {
        let mut config = self.server_config_without_alpn()?;
        let protocols: &[&[u8]] = if http2 { &[ALPN_HTTP2, ALPN_HTTP1] } else { &[ALPN_HTTP1] };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(config)
    }

    fn server_config_without_alpn(&self) -> Result<ServerConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let identity = || Arc::clone(&self.identity);
        if self.files.client_ca.is_none() {
            return Ok(builder.with_no_client_auth().with_cert_resolver(identity()));
        }
        let mut config = builder.with_client_cert_verifier(identity()).with_cert_resolver(identity());
        // A resumed session does not show its certificate again: a withdrawn authority would stay
        // accepted.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Reads the files again if they have changed or if `force` is set; invalid ones change
    /// nothing. `None` = nothing to do.
    pub(super) fn reload_if_changed(&mut self, force: bool) -> Option<Result<(), TlsError>> {
        if !self.watcher.has_changed(force) {
            return None;
        }
        Some(self.files.load().map(|identity| self.identity.0.store(Arc::new(identity))))
    }
}

impl ResolvesServerCert for CurrentIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified_key))
    }
}

impl CurrentIdentity {
    fn client_verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let identity = self.0.load();
        identity
            .client_verifier
            .clone()
            .ok_or_else(|| Error::General("no authority of callers' certificates".to_owned()))
    }
}

impl ClientCertVerifier for CurrentIdentity {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// Empty: the current authorities cannot be borrowed for as long as `self`. A client then sends
    /// the certificate it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.client_verifier()?.verify_client_cert(certificate, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.client_verifier()?.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.client_verifier()?.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.client_verifier().map(|verifier| verifier.supported_verify_schemes()).unwrap_or_default()
    }
}
