//! The console (contract 4.15): static files that call the API from the browser, with the key of
//! the person who looks.

use std::sync::LazyLock;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH, LOCATION, REFERRER_POLICY};
use bytes::Bytes;

use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::headers;
use crate::problem::{Problem, ProblemKind};
use crate::record::{EntityTag, Precondition, sha256};

const CSP_CONSOLE: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                           img-src 'self' data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// A file of the console.
struct ConsoleFile {
    /// Its name in the path; the page itself has none.
    name: &'static str,
    media_type: &'static str,
    content: &'static str,
}

macro_rules! console_files {
    ($($name:literal $file:literal $media_type:ident,)*) => {
        const FILES: &[ConsoleFile] = &[$(ConsoleFile {
            name: $name,
            media_type: $media_type,
            content: include_str!(concat!("../console/", $file)),
        },)*];
    };
}

console_files! {
    "" "index.html" HTML,
    "style.css" "style.css" CSS,
    "app.js" "app.js" SCRIPT,
    "api.js" "api.js" SCRIPT,
    "batches.js" "batches.js" SCRIPT,
    "dom.js" "dom.js" SCRIPT,
    "filters.js" "filters.js" SCRIPT,
    "ledger.js" "ledger.js" SCRIPT,
    "operation.js" "operation.js" SCRIPT,
    "operations.js" "operations.js" SCRIPT,
    "overview.js" "overview.js" SCRIPT,
    "record.js" "record.js" SCRIPT,
    "verify.js" "verify.js" SCRIPT,
}

/// The tag of each file, in the order of [`FILES`].
static TAGS: LazyLock<Vec<EntityTag>> = LazyLock::new(|| {
    let hash = |file: &ConsoleFile| const_hex::encode(sha256([file.content.as_bytes()]));
    FILES.iter().map(|file| EntityTag::from_header(false, &hash(file))).collect()
});

/// `GET /console`.
pub(in crate::http) async fn redirect(context: RequestContext) -> HandlerResult {
    require_console(&context)?;
    Ok(HttpResponse::PermanentRedirect().insert_header((LOCATION, "/console/")).finish())
}

/// `GET /console/{file}`.
pub(in crate::http) async fn file(context: RequestContext) -> HandlerResult {
    require_console(&context)?;
    let name = context.path_param("file")?;
    let found = FILES.iter().zip(TAGS.iter()).find(|(file, _)| file.name == name);
    let (file, tag) = found.ok_or_else(|| ProblemKind::NotFound.with_detail("the console has no such file"))?;
    let is_known = match headers::parse_precondition(context.headers(), &IF_NONE_MATCH)? {
        None => false,
        Some(Precondition::Exists) => true,
        Some(Precondition::AnyOf(tags)) => tags.iter().any(|one| one.matches_weakly(tag)),
    };
    let mut response = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    response
        .insert_header((ETAG, tag.to_header()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .insert_header((CONTENT_SECURITY_POLICY, CSP_CONSOLE))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    if is_known {
        return Ok(response.finish().set_body(actix_web::body::None::new()).map_into_boxed_body());
    }
    Ok(response.content_type(file.media_type).body(Bytes::from_static(file.content.as_bytes())))
}

/// # Errors
/// 404 where `[server] console` is off.
fn require_console(context: &RequestContext) -> Result<(), Problem> {
    let is_on = context.api().console;
    if is_on { Ok(()) } else { Err(ProblemKind::NotFound.with_detail("the console is switched off")) }
}
