//! The headers of requests and responses that `actix_web::http::header` does not name.

use actix_web::http::header::HeaderName;

macro_rules! header_names {
    ($($constant:ident = $name:literal;)*) => {
        $(pub(crate) const $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

header_names! {
    ACCEPT_LOSS = "accept-loss";
    ACCEPT_PATCH = "accept-patch";
    ACCEPT_POST = "accept-post";
    CONCURRENCY_GUARANTEE = "concurrency-guarantee";
    IDEMPOTENCY_KEY = "idempotency-key";
    IDEMPOTENCY_REPLAYED = "idempotency-replayed";
    IF_PLAN = "if-plan";
    LAST_EVENT_ID = "last-event-id";
    OPERATION = "operation";
    PREFER = "prefer";
    PREFERENCE_APPLIED = "preference-applied";
    RATE_LIMIT = "ratelimit";
    RATE_LIMIT_POLICY = "ratelimit-policy";
    REQUEST_ID = "x-request-id";
    REQUIRE_GUARANTEE = "require-guarantee";
    SANDBOX_FAULT = "sandbox-fault";
    X_ACCEL_BUFFERING = "x-accel-buffering";
}
