//! The API under test, and requests to it.

use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServiceResponse;
use actix_web::http::Method;
use actix_web::http::header::HeaderMap;
use actix_web::middleware::from_fn;
use actix_web::test::{self, TestRequest, call_service, init_service};
use actix_web::{App, web};
use serde_json::Value;

use super::scripted_vendor::{ScriptedVendor, scripted_system};
use crate::access::{ApiKeyAuth, Permission};
use crate::config::{CallerConfig, CallerKey, CallerLimits, Grant, KeyDigest};
use crate::gateway::Gateway;
use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::{
    ApiState, Authenticator, BatchLimits, Listener, Models, RequestLimits, SharedApiState, app, middleware,
    openapi_json,
};
use crate::journal::{Durability, Journal, JournalSettings};
use crate::metrics::Metrics;
use crate::record::{Action, CallerName, RecordId, SystemName, Version, sha256};
use crate::sandbox::{CallKind, FakeVendor};

const SYSTEMS: [(&str, &[Action]); 3] = [
    ("crm", &[Action::Read, Action::Create, Action::Update, Action::Delete]),
    ("itsm", &[Action::Read, Action::Create, Action::Update, Action::Delete]),
    ("docs", &[Action::Read]),
];

/// The systems `crm` and `itsm` take every action, `docs` only reads. The caller `admin` may do
/// everything, `reader` has `crm:read` and `writer` has `crm:update`; a key is its caller's name. A
/// body has at most 100 bytes.
pub(super) struct TestApi {
    pub(super) vendor: FakeVendor<ScriptedVendor>,
    pub(super) state: Arc<SharedApiState>,
}

/// A response, read to its end.
#[derive(Debug)]
pub(super) struct TestResponse {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl TestResponse {
    async fn read(response: ServiceResponse) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = String::from_utf8(test::read_body(response).await.to_vec()).expect("UTF-8");
        Self { status, headers, body }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("visible ASCII"))
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("a JSON body")
    }

    /// The problem's name, after checking that the document is complete.
    pub(super) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.header("cache-control"), Some("no-store"));
        let document = self.json();
        assert_eq!(document["status"], self.status);
        assert_eq!(document["request_id"].as_str(), self.header("x-request-id"));
        for member in ["title", "detail", "instance"] {
            assert!(document[member].is_string(), "{member}");
        }
        assert!(document["retryable"].is_boolean());
        document["type"].as_str().and_then(|kind| kind.strip_prefix("/problems/")).expect("a type").to_owned()
    }
}

fn authenticator() -> Authenticator {
    let grant = |system: Option<&str>, permission| Grant { system: system.and_then(SystemName::parse), permission };
    let caller = |name: &str, allow| CallerConfig {
        name: CallerName(name.into()),
        keys: vec![CallerKey { digest: KeyDigest(sha256([name.as_bytes()])), not_after: None }],
        allow: vec![allow],
        limits: CallerLimits::default(),
        weight: NonZeroU16::MIN,
    };
    Authenticator::ApiKeys(ApiKeyAuth::with_keys(&[
        caller("admin", grant(None, None)),
        caller("reader", grant(Some("crm"), Some(Permission::Read))),
        caller("writer", grant(Some("crm"), Some(Permission::Update))),
    ]))
}

impl TestApi {
    pub(super) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(super) async fn start_with(change: impl FnOnce(&mut RequestLimits)) -> Self {
        let vendor = FakeVendor::start().expect("a fake vendor");
        let names = SYSTEMS.map(|(name, _)| SystemName::parse(name).expect("a name"));
        let metrics = Metrics::new(&names).expect("metrics");
        let systems =
            names.iter().zip(SYSTEMS).map(|(name, (_, actions))| scripted_system(name, actions, &vendor, &metrics));
        let systems: Vec<_> = systems.collect();
        let settings = JournalSettings {
            url: "sqlite::memory:".to_owned(),
            durability: Durability::Relaxed,
            idempotency_ttl: Duration::from_hours(1),
            retention: Duration::from_hours(1),
            remember_shown: Duration::ZERO,
        };
        let store = Journal::open(settings, Arc::new(())).await.expect("a store");
        let (gateway, _) = Gateway::new(systems.clone(), store, Arc::clone(&metrics));
        let mut limits = RequestLimits {
            max_body: 100,
            body_timeout: Duration::from_secs(5),
            deadline: Duration::from_secs(30),
            plan_ttl: Duration::from_mins(1),
            changes_retention: Duration::from_hours(1),
            max_streams: 256,
        };
        change(&mut limits);
        let batch_limits = BatchLimits {
            max_items: 100,
            max_body: 100_000,
            max_async_items: 1000,
            max_concurrency: 8,
            deadline: Duration::from_mins(2),
        };
        let authenticator = Arc::new(authenticator());
        let state = ApiState {
            models: Arc::new(Models::new(Vec::new(), openapi_json())),
            gateway,
            systems,
            authenticator,
            metrics,
            tracer: None,
            external_url: String::new(),
            console: true,
            rehearsal: None,
            access_log: false,
            limits,
            batch_limits,
            process: Arc::default(),
        };
        Self { vendor, state: SharedApiState::new(state) }
    }

    pub(super) async fn send(&self, request: TestRequest) -> TestResponse {
        self.send_to(Listener::Everything, request).await
    }

    pub(super) async fn send_to(&self, listener: Listener, request: TestRequest) -> TestResponse {
        let service = init_service(app(&self.state, listener)).await;
        TestResponse::read(call_service(&service, request.to_request()).await).await
    }

    /// The response to a PATCH of `admin` that this handler takes instead of the API's own.
    pub(super) async fn respond<Handler, Response>(&self, handler: Handler) -> TestResponse
    where
        Handler: Fn(RequestContext) -> Response + Clone + 'static,
        Response: Future<Output = HandlerResult> + 'static,
    {
        self.respond_to(patch_request(), handler).await
    }

    /// The response to a request that this handler takes instead of the API's own.
    pub(super) async fn respond_to<Handler, Response>(&self, request: TestRequest, handler: Handler) -> TestResponse
    where
        Handler: Fn(RequestContext) -> Response + Clone + 'static,
        Response: Future<Output = HandlerResult> + 'static,
    {
        let state = Arc::clone(&self.state);
        let service = init_service(
            App::new()
                .default_service(web::to(handler).wrap(from_fn(middleware::authenticate)))
                .wrap(from_fn(middleware::render_problems))
                .wrap(from_fn(move |request, next| middleware::create_request_state(state.load(), request, next))),
        )
        .await;
        TestResponse::read(call_service(&service, request.to_request()).await).await
    }

    /// The tag of the record `crm`/`a:b` in a version; the current one is 7.
    pub(super) fn tag(&self, version: u64) -> String {
        let state = self.state.load();
        let system = state.find_system("crm").expect("a system");
        system.tag(&RecordId::new("a", "b"), &Version::Sequence(version)).to_header()
    }

    /// How many writes reached the vendor.
    pub(super) fn write_count(&self) -> usize {
        [CallKind::Create, CallKind::Update, CallKind::Delete].map(|kind| self.vendor.log.count(kind)).iter().sum()
    }

    /// The requests that were counted, as lines of the metrics.
    pub(super) fn counted(&self) -> Vec<String> {
        let text = self.state.load().metrics.render().expect("metrics");
        let text = String::from_utf8(text).expect("UTF-8");
        let counted = |line: &&str| line.starts_with("gateway_requests_total") && !line.ends_with(" 0");
        text.lines().filter(counted).map(str::to_owned).collect()
    }
}

pub(super) fn request_of(caller: &str, method: &str, target: &str) -> TestRequest {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    TestRequest::default().method(method).uri(target).insert_header(("authorization", format!("Bearer {caller}")))
}

pub(super) fn admin_request(method: &str, target: &str) -> TestRequest {
    request_of("admin", method, target)
}

pub(super) const PATCH: &str = r#"{"fields":{"n":2}}"#;

/// A PATCH of `crm`/`a:b`, whatever its state.
pub(super) fn patch_request() -> TestRequest {
    admin_request("PATCH", "/records/crm/a:b")
        .insert_header(("if-match", "*"))
        .insert_header(("content-type", "application/merge-patch+json"))
        .set_payload(PATCH)
}
