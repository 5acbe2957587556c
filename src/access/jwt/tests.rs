mod key_fetches;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ::ring::rand::SystemRandom;
use ::ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use super::*;
use crate::access::JwksSource;
use crate::config::{CallerLimits, JwksLocation, Permission};

const ISSUER: &str = "https://issuer.example/";
const AUDIENCE: &str = "records-gateway";

enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(Box::new(RsaKeyPair::from_pkcs8(include_bytes!("../../../tests/keys/rsa.pk8")).unwrap()))
    }

    fn ec() -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap())
    }

    fn ed() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self::Ed(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RS256",
            Self::Ec(_) => "ES256",
            Self::Ed(_) => "EdDSA",
        }
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
                let (n, e) = (encode(public.n), encode(public.e));
                json!({ "kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": n, "e": e })
            }
            Self::Ec(pair) => {
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": encode(x), "y": encode(y) })
            }
            Self::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(pair.public_key()) }),
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
            Self::Ec(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn token_with(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        format!("{message}.{}", encode(self.sign(message.as_bytes())))
    }

    fn token(&self, id: &str, claims: &Value) -> String {
        self.token_with(&json!({ "alg": self.algorithm(), "typ": "JWT", "kid": id }), claims)
    }
}

fn in_seconds(seconds: i64) -> i64 {
    jiff::Timestamp::now().as_second() + seconds
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "billing", "exp": in_seconds(300), "scope": "crm:read itsm:*" })
}

/// The usual claims with one replaced or, by null, removed.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let members = claims.as_object_mut().unwrap();
    if value.is_null() {
        members.remove(name)
    } else {
        members.insert(name.to_owned(), value)
    };
    claims
}

/// An issuer whose document can change, fail, and be waited for.
#[derive(Default)]
struct Issuer {
    document: Mutex<Option<String>>,
    fetches: AtomicUsize,
    fetch_started: Notify,
    fetch_gate: Mutex<Option<Arc<Notify>>>,
}

impl Issuer {
    fn with_keys(keys: &[Value]) -> Arc<Self> {
        let issuer = Arc::new(Self::default());
        issuer.publish(keys);
        issuer
    }

    fn publish(&self, keys: &[Value]) {
        *self.document.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    fn fail(&self) {
        *self.document.lock().unwrap() = None;
    }

    fn fetches(&self) -> usize {
        self.fetches.load(Ordering::SeqCst)
    }
}

#[async_trait(?Send)]
impl JwksSource for Issuer {
    async fn fetch(&self) -> Result<Bytes, String> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        self.fetch_started.notify_one();
        let hold = self.fetch_gate.lock().unwrap().clone();
        if let Some(hold) = hold {
            hold.notified().await;
        }
        self.document.lock().unwrap().clone().map(Bytes::from).ok_or_else(|| "the issuer is unavailable".to_owned())
    }
}

fn jwt_verifier(issuer: &Arc<Issuer>) -> JwtVerifier {
    let jwt = JwtConfig {
        issuer: ISSUER.into(),
        audience: AUDIENCE.into(),
        jwks: JwksLocation::File("unused".into()),
        limits: CallerLimits::default(),
    };
    JwtVerifier::new(&jwt, Arc::clone(issuer) as _)
}

async fn error_reason(tokens: &JwtVerifier, token: &str) -> &'static str {
    match tokens.authenticate(token).await {
        Err(AuthError::Token(why)) => why,
        Err(AuthError::KeysUnavailable) => "keys unavailable",
        Ok(_) => "ok",
    }
}

#[tokio::test]
async fn tokens_of_each_algorithm_identify_their_caller() {
    LocalSet::new()
        .run_until(async {
            let signers = [Signer::rsa(), Signer::ec(), Signer::ed()];
            let keys: Vec<_> = ["a", "b", "c"].iter().zip(&signers).map(|(id, signer)| signer.jwk(id)).collect();
            let tokens = jwt_verifier(&Issuer::with_keys(&keys));
            for (id, signer) in ["a", "b", "c"].iter().zip(&signers) {
                for _ in 0..2 {
                    let caller = tokens.authenticate(&signer.token(id, &claims())).await.unwrap();
                    assert_eq!(caller.name().0.as_ref(), "billing");
                    assert!(caller.can("crm", Permission::Read) && !caller.can("crm", Permission::Update));
                    assert!(caller.can("itsm", Permission::Ledger) && !caller.can("erp", Permission::Read));
                }
            }
        })
        .await;
}

#[tokio::test]
async fn a_token_is_checked_with_the_algorithm_of_its_key_and_no_other() {
    LocalSet::new()
        .run_until(async {
            let (rsa, ec) = (Signer::rsa(), Signer::ec());
            let tokens = jwt_verifier(&Issuer::with_keys(&[rsa.jwk("rsa"), ec.jwk("ec")]));
            let unsigned = format!(
                "{}.{}.",
                encode(json!({ "alg": "none", "kid": "ec" }).to_string()),
                encode(claims().to_string())
            );
            assert_eq!(error_reason(&tokens, &unsigned).await, "it is not a JWT signed with RS256, ES256 or EdDSA");
            for stranger in ["", "a", "a.b", "a.b.c", "a.b.c.d", "..", "\u{fc}.\u{fc}.\u{fc}"] {
                assert!(error_reason(&tokens, stranger).await.starts_with("it is not a JWT"), "{stranger}");
            }

            // The public key's own octets as the secret of an HMAC.
            let Signer::Ec(pair) = &ec else { unreachable!() };
            let message = format!(
                "{}.{}",
                encode(json!({ "alg": "HS256", "kid": "ec" }).to_string()),
                encode(claims().to_string())
            );
            let secret = ::ring::hmac::Key::new(::ring::hmac::HMAC_SHA256, pair.public_key().as_ref());
            let forged = format!("{message}.{}", encode(::ring::hmac::sign(&secret, message.as_bytes())));
            assert_eq!(error_reason(&tokens, &forged).await, "its algorithm is not RS256, ES256 or EdDSA");

            for algorithm in ["RS512", "PS256", "ES384"] {
                let token = rsa.token_with(&json!({ "alg": algorithm, "kid": "rsa" }), &claims());
                assert_eq!(
                    error_reason(&tokens, &token).await,
                    "its algorithm is not RS256, ES256 or EdDSA",
                    "{algorithm}"
                );
            }
            for (header_algorithm, id) in [("ES256", "rsa"), ("EdDSA", "rsa"), ("RS256", "ec"), ("EdDSA", "ec")] {
                let token = ec.token_with(&json!({ "alg": header_algorithm, "kid": id }), &claims());
                assert_eq!(error_reason(&tokens, &token).await, "its algorithm is not that of its key");
            }
            let foreign = Signer::ec().token("ec", &claims());
            assert_eq!(error_reason(&tokens, &foreign).await, "its signature is wrong");
        })
        .await;
}

#[tokio::test]
async fn modified_tokens_and_unknown_critical_headers_are_rejected() {
    LocalSet::new()
        .run_until(async {
            let ec = Signer::ec();
            let tokens = jwt_verifier(&Issuer::with_keys(&[ec.jwk("ec")]));
            let good = ec.token("ec", &claims());
            let parts: Vec<&str> = good.split('.').collect();
            let other = encode(claims_with("sub", json!("admin")).to_string());
            assert_eq!(
                error_reason(&tokens, &format!("{}.{other}.{}", parts[0], parts[2])).await,
                "its signature is wrong"
            );
            assert_ne!(error_reason(&tokens, &format!("{}.{}.", parts[0], parts[1])).await, "ok");
            assert_ne!(error_reason(&tokens, &format!("{good}A")).await, "ok");
            let critical =
                ec.token_with(&json!({ "alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": false }), &claims());
            assert!(error_reason(&tokens, &critical).await.contains("crit"));
            assert_eq!(error_reason(&tokens, &good).await, "ok");
        })
        .await;
}

#[tokio::test]
async fn claims_are_checked_with_thirty_seconds_of_leeway() {
    LocalSet::new()
        .run_until(async {
            let ed = Signer::ed();
            let tokens = jwt_verifier(&Issuer::with_keys(&[ed.jwk("ed")]));
            let not_claims = "its claims are not an object with `sub` (a string) and `exp` (a number)";
            for (claims, expected) in [
                (claims_with("exp", Value::Null), not_claims),
                (claims_with("exp", json!("soon")), not_claims),
                (claims_with("exp", json!(-1)), "its `exp` is not a time"),
                (claims_with("exp", json!(in_seconds(-31))), "it has expired"),
                (claims_with("exp", json!(in_seconds(-20))), "ok"),
                (claims_with("exp", serde_json::from_str("4102444800.5").unwrap()), "ok"),
                (claims_with("exp", serde_json::from_str("1e999").unwrap()), "its `exp` is not a time"),
                (claims_with("nbf", json!(in_seconds(40))), "it is not valid yet"),
                (claims_with("nbf", json!(in_seconds(20))), "ok"),
                (claims_with("iss", Value::Null), "it has no issuer (`iss`)"),
                (claims_with("iss", json!("https://issuer.example")), "it is from another issuer"),
                (claims_with("aud", Value::Null), "it has no audience (`aud`)"),
                (claims_with("aud", json!(["other", "another"])), "it is for another audience"),
                (claims_with("aud", json!(["other", AUDIENCE])), "ok"),
                (claims_with("aud", json!([])), "it is for another audience"),
                (claims_with("sub", Value::Null), not_claims),
                (claims_with("sub", json!(7)), not_claims),
                (claims_with("sub", json!("")), "it names no caller: `sub` is empty"),
                (claims_with("sub", json!(" ")), "it names no caller: `sub` is empty"),
                (claims_with("sub", json!("a\nb")), "its `sub` cannot be a caller's name"),
                (claims_with("sub", json!("anonymous")), "its `sub` cannot be a caller's name"),
                (claims_with("sub", json!("x".repeat(256))), "its `sub` cannot be a caller's name"),
                (json!([]), not_claims),
            ] {
                assert_eq!(error_reason(&tokens, &ed.token("ed", &claims)).await, expected, "{claims}");
            }
        })
        .await;
}

#[tokio::test]
async fn scope_is_a_string_or_a_list_and_unknown_scopes_are_ignored() {
    LocalSet::new()
        .run_until(async {
            let ed = Signer::ed();
            let tokens = jwt_verifier(&Issuer::with_keys(&[ed.jwk("ed")]));
            for scope in [
                json!("openid  profile crm:update crm:fly :read crm: *:ledger"),
                json!(["openid", "crm:update", 7, "*:ledger", "two words", null]),
            ] {
                let caller = tokens.authenticate(&ed.token("ed", &claims_with("scope", scope))).await.unwrap();
                assert!(caller.can("crm", Permission::Update) && caller.can("erp", Permission::Ledger));
                assert!(!caller.can("crm", Permission::Read) && !caller.can("crm", Permission::Delete));
            }
            for scope in [Value::Null, json!({ "crm": "read" }), json!(true)] {
                let caller = tokens.authenticate(&ed.token("ed", &claims_with("scope", scope))).await.unwrap();
                assert!(!caller.can("crm", Permission::Read));
            }
        })
        .await;
}

#[test]
fn unusable_keys_are_ignored() {
    let usable = Signer::ec().jwk("good");
    let changed = |name: &str, value: Value| {
        let mut key = usable.clone();
        key[name] = value;
        key
    };
    let short = json!({ "kty": "RSA", "kid": "short", "n": encode([0xff; 128]), "e": "AQAB" });
    let unusable = [
        json!({ "kty": "oct", "kid": "secret", "k": "c2VjcmV0" }),
        json!({ "kty": "new", "kid": "unknown kind" }),
        json!("no key at all"),
        short,
        changed("use", json!("enc")),
        changed("alg", json!("ES384")),
        changed("alg", json!("HS256")),
        changed("crv", json!("P-384")),
        changed("key_ops", json!(["sign"])),
        changed("x", json!("AAAA")),
    ];
    let all: Vec<_> = unusable.iter().cloned().chain([usable.clone()]).collect();
    let set = crate::access::jwks::KeySet::parse(json!({ "keys": all }).to_string().as_bytes()).unwrap();
    assert_eq!((set.len(), set.ignored), (1, unusable.len()));
    for wrong in ["", "[]", "{}", r#"{"keys":{}}"#] {
        assert!(crate::access::jwks::KeySet::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn a_key_needs_no_kid_if_it_is_the_only_one() {
    LocalSet::new()
        .run_until(async {
            let (one, other) = (Signer::ec(), Signer::ec());
            let unnamed = |signer: &Signer| {
                let mut key = signer.jwk("");
                key.as_object_mut().unwrap().remove("kid");
                key
            };
            let anonymous = one.token_with(&json!({ "alg": "ES256" }), &claims());
            let alone = jwt_verifier(&Issuer::with_keys(&[unnamed(&one)]));
            assert_eq!(error_reason(&alone, &anonymous).await, "ok");
            assert_eq!(error_reason(&alone, &one.token("any", &claims())).await, "ok");
            let named = jwt_verifier(&Issuer::with_keys(&[one.jwk("one")]));
            assert_eq!(error_reason(&named, &anonymous).await, "ok");
            assert_eq!(
                error_reason(&named, &one.token("other", &claims())).await,
                "its key (`kid`) is not in the issuer's JWKS"
            );
            let two = jwt_verifier(&Issuer::with_keys(&[unnamed(&one), other.jwk("other")]));
            assert_eq!(error_reason(&two, &anonymous).await, "its key (`kid`) is not in the issuer's JWKS");
        })
        .await;
}

#[tokio::test]
async fn an_auth_error_contains_no_part_of_the_token() {
    LocalSet::new()
        .run_until(async {
            let ed = Signer::ed();
            let tokens = jwt_verifier(&Issuer::with_keys(&[ed.jwk("ed")]));
            let token = ed.token("ed", &claims_with("iss", json!("canary")));
            let shown = format!("{:?}", tokens.authenticate(&token).await.unwrap_err());
            assert!(!shown.contains("canary") && token.split('.').all(|part| !shown.contains(part)), "{shown}");
        })
        .await;
}
