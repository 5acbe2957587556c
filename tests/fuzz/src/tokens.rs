//! JWTs of callers, and the key sets they are verified with.

use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use records_gateway::access::{JwksSource, JwtVerifier};
use records_gateway::config::{CallerLimits, JwksLocation, JwtConfig};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

/// The one token with a valid signature. It expires in 2100; its private key was discarded.
const TOKEN: &str = "\
    eyJhbGciOiJFZERTQSIsImtpZCI6Im9uZSIsInR5cCI6IkpXVCJ9.\
    eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlLyIsImF1ZCI6InJlY29yZHMtZ2F0ZXdheSIsInN1YiI6ImJpbGxpbmciLCJleHAiOjQxMDI0NDQ4MDAsInNjb3BlIjoiY3JtOnJlYWQgaXRzbToqIn0.\
    c6iCXph8DJf5TX8DjShuxuzOfh24l1b3A9OewouCNpIXLYLfMxlVHXxWTr_SJv3TEjBVcsk0oiqW2gPiBQ4TCg";
/// The public key.
const PUBLIC_KEY: &str = "wEbM6OatbZgUT3nIYcHQrJEYyLXBP50GnnCN2SuxAlo";

struct FixedJwks(Bytes);

#[async_trait(?Send)]
impl JwksSource for FixedJwks {
    async fn fetch(&self) -> Result<Bytes, String> {
        Ok(self.0.clone())
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    static VERIFIER: Rc<JwtVerifier> = Rc::new(jwt_verifier(jwks_document().into()));
}

fn jwks_document() -> String {
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","kid":"one","x":"{PUBLIC_KEY}"}}]}}"#)
}

/// A verifier that trusts this key set.
fn jwt_verifier(keys: Bytes) -> JwtVerifier {
    let jwt = JwtConfig {
        issuer: "https://issuer.example/".to_owned(),
        audience: "records-gateway".to_owned(),
        jwks: JwksLocation::Url("https://issuer.example/keys".to_owned()),
        limits: CallerLimits::default(),
    };
    let tokens = JwtVerifier::new(&jwt, Arc::new(FixedJwks(keys)));
    block_on(tokens.refresh());
    tokens
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.with(|runtime| LocalSet::new().block_on(runtime, future))
}

/// Only the issued token is accepted, to the last character.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let issued = VERIFIER.with(Rc::clone);
    let result = block_on(issued.authenticate(text));
    assert_eq!(result.is_ok(), text == TOKEN, "{text}");
}

/// A key set accepts the issued token only if it contains its key.
pub fn keys(data: &[u8]) {
    let issued = jwt_verifier(data.to_vec().into());
    if block_on(issued.authenticate(TOKEN)).is_ok() {
        assert!(String::from_utf8_lossy(data).contains(PUBLIC_KEY), "a token that none of these keys has signed");
    }
}
