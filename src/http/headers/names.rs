//! The headers of requests and responses that `actix_web::http::header` does not name.

use actix_web::http::header::HeaderName;

macro_rules! header_names {
    ($($constant:ident = $name:literal;)*) => {
        $(pub(crate) const $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

header_names! {
    ACCEPT_LOSS = "accept-loss";
    CONCURRENCY_GUARANTEE = "concurrency-guarantee";
    IDEMPOTENCY_KEY = "idempotency-key";
    IDEMPOTENCY_REPLAYED = "idempotency-replayed";
    IF_PLAN = "if-plan";
    OPERATION = "operation";
    PREFER = "prefer";
    PREFERENCE_APPLIED = "preference-applied";
    RATE_LIMIT = "ratelimit";
    RATE_LIMIT_POLICY = "ratelimit-policy";
    REQUEST_ID = "x-request-id";
    REQUIRE_GUARANTEE = "require-guarantee";
}
