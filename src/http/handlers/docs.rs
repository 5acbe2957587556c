//! What people read in a browser: one page per problem, Swagger UI. No page loads anything from
//! another host.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION};
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::html::{html_page, inline_code_html};
use crate::http::openapi::ProblemPath;
use crate::problem::ProblemKind;

/// Swagger UI writes inline styles and draws icons from `data:`; it calls this gateway only.
const CSP_SWAGGER: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Starts Swagger UI, in place of the file of that name that it comes with.
const INITIALIZER: &str = include_str!("../swagger/initializer.js");
const INITIALIZER_NAME: &str = "swagger-initializer.js";

/// What of it the page needs is in [`INITIALIZER`].
static SWAGGER_CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(Arc::default);

/// `GET /problems/{name}`.
#[utoipa::path(get, path = "/problems/{name}", tag = "Gateway", operation_id = "getProblem", security(()),
    summary = "Explain a problem", description = "What a problem means and what to do about it.",
    params(ProblemPath),
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub(in crate::http) async fn problem(context: RequestContext) -> HandlerResult {
    let missing =
        || ProblemKind::NotFound.with_detail("there is no problem of this name; every problem page lists all");
    let name = ProblemKind::parse(&context.path_param("name")?).ok_or_else(missing)?;
    Ok(problem_page(name))
}

fn problem_page(name: ProblemKind) -> HttpResponse {
    let spec = name.spec();
    let again =
        if spec.retryable { "The same request may succeed later." } else { "Repeating the request does not help." };
    let mut body = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        body,
        "<p><code>{}</code>, status {}</p><dl><dt>What it means</dt><dd>{}</dd><dt>What to do</dt><dd>{}</dd>\
         <dt>Again?</dt><dd>{again}</dd></dl><p>All problems: ",
        spec.name,
        spec.status,
        inline_code_html(spec.meaning),
        inline_code_html(spec.remedy),
    );
    for other in ProblemKind::ALL {
        let _ = write!(body, "<a href=\"{0}\">{0}</a> ", other.as_str());
    }
    body.push_str("</p>");
    html_page(spec.title, Some(".."), &body)
}

/// `GET /openapi.json`.
#[utoipa::path(get, path = "/openapi.json", tag = "Gateway", operation_id = "getOpenApi", summary = "This document", description = "What you are reading.",
    security(()), responses((status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json",
        body = Object)))]
pub(in crate::http) async fn openapi_json(context: RequestContext) -> HttpResponse {
    let text = context.api().models.openapi();
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-cache")).content_type("application/json");
    match (context.api().external_url.as_str(), std::str::from_utf8(&text)) {
        ("", _) | (_, Err(_)) => response.body(text),
        (url, Ok(text)) => response.body(at_external_url(text, url)),
    }
}

/// The document of a gateway that callers reach at this URL, which problem types begin with.
pub(super) fn at_external_url(text: &str, url: &str) -> String {
    if url.is_empty() {
        return text.to_owned();
    }
    let text = text.replacen(SERVER_URL, &format!("\"url\": \"{url}\""), 1);
    let text = text.replace("\"/problems/", &format!("\"{url}/problems/"));
    // A path is relative to the server.
    text.replace(&format!("\"{url}/problems/{{name}}\""), "\"/problems/{name}\"")
}

/// The gateway's own URL in the text of the document.
const SERVER_URL: &str = "\"url\": \"/\"";

/// `GET /docs`.
pub(in crate::http) async fn redirect() -> HttpResponse {
    HttpResponse::PermanentRedirect().insert_header((LOCATION, "/docs/")).finish()
}

/// `GET /docs/{file}`: Swagger UI.
pub(in crate::http) async fn swagger_ui(context: RequestContext) -> HandlerResult {
    let missing = || ProblemKind::NotFound.with_detail("Swagger UI has no such file");
    let file = context.path_param("file")?;
    let found = utoipa_swagger_ui::serve(&file, Arc::clone(&SWAGGER_CONFIG)).ok().flatten().ok_or_else(missing)?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_SECURITY_POLICY, CSP_SWAGGER)).insert_header((CACHE_CONTROL, "no-cache"));
    // What is part of the program is not copied.
    let bytes = match found.bytes {
        _ if file == INITIALIZER_NAME => Bytes::from_static(INITIALIZER.as_bytes()),
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Ok(response.content_type(found.content_type).body(bytes))
}
