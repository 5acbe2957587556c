//! TLS towards callers: the present certificate, exchanged while connections go on.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme};

use super::watched::Watched;
use crate::config::{Identity, Tls, TlsFault};

/// The files of `server.tls` with what they held when they were last good.
pub(super) struct LiveTls {
    files: Tls,
    watched: Watched,
    present: Arc<Present>,
}

/// What handshakes take.
#[derive(Debug)]
struct Present(ArcSwap<Identity>);

impl LiveTls {
    /// Reads the files.
    pub(super) fn new(files: &Tls) -> Result<Self, TlsFault> {
        let watched =
            Watched::new([&*files.certificate, &*files.private_key].into_iter().chain(files.client_ca.as_deref()));
        let identity = files.load()?;
        Ok(Self { files: files.clone(), watched, present: Arc::new(Present(ArcSwap::from_pointee(identity))) })
    }

    /// For the listener, which adds HTTP/2 and HTTP/1.1 as what may be spoken (ALPN).
    pub(super) fn server_config(&self) -> Result<ServerConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let present = || Arc::clone(&self.present);
        if self.files.client_ca.is_none() {
            return Ok(builder.with_no_client_auth().with_cert_resolver(present()));
        }
        let mut config = builder.with_client_cert_verifier(present()).with_cert_resolver(present());
        // A resumed session is not asked for its certificate again: an authority that was withdrawn would stay good.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Reads the files again if they have changed, or if that is wanted `now`; bad ones change nothing. `None` = there was
    /// nothing to do.
    pub(super) fn look_after(&mut self, now: bool) -> Option<Result<(), TlsFault>> {
        if !self.watched.have_changed() && !now {
            return None;
        }
        Some(self.files.load().map(|identity| self.present.0.store(Arc::new(identity))))
    }
}

impl ResolvesServerCert for Present {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().certified))
    }
}

impl Present {
    fn callers(&self) -> Result<Arc<dyn ClientCertVerifier>, Error> {
        let present = self.0.load();
        present.callers.clone().ok_or_else(|| Error::General("no authority of callers' certificates".to_owned()))
    }
}

impl ClientCertVerifier for Present {
    fn client_auth_mandatory(&self) -> bool {
        true
    }

    /// None: they cannot be lent out of what may be exchanged any moment. A client then sends the certificate it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.callers()?.verify_client_cert(certificate, between, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.callers()?.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.callers()?.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.callers().map(|callers| callers.supported_verify_schemes()).unwrap_or_default()
    }
}
