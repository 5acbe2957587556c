//! What people read in a browser: the front page, one page per problem, Swagger UI. No page loads
//! anything from another host.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION};
use actix_web::web::ThinData;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use utoipa_swagger_ui::Config;

use crate::http::context::RequestContext;
use crate::http::error::HandlerResult;
use crate::http::openapi::ProblemPath;
use crate::problem::ProblemKind;
use crate::record::sha256;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#222}\
    code{background:#f2f2f2;padding:.1em .3em}dt{font-weight:600}dd{margin:0 0 1rem}";

/// Allows the one style sheet, by its hash.
static CSP_DEFAULT: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(sha256([STYLE.as_bytes()]));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Swagger UI writes inline styles and draws icons from `data:`; it calls this gateway only.
const CSP_SWAGGER: &str = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static SWAGGER_CONFIG: LazyLock<Arc<Config<'static>>> = LazyLock::new(|| {
    let config = Config::from("../openapi.json").try_it_out_enabled(true).display_request_duration(true);
    // No badge of an external validator, and no key stored in the browser.
    Arc::new(config.display_operation_id(true).validator_url("none"))
});

/// `GET /`.
#[utoipa::path(get, path = "/", tag = "Gateway", operation_id = "getHome", security(()),
    summary = "The front page", description = "Links to the API's pages.",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub(in crate::http) async fn home() -> HttpResponse {
    html_page(
        "records-gateway",
        ".",
        "<p>One way to read and change a record, whatever system holds it.</p><ul>\
         <li><a href=\"docs/\">API, to read and to try out</a> (<a href=\"openapi.json\">OpenAPI document</a>)</li>\
         <li><a href=\"systems\">The systems behind this gateway</a> (needs credentials)</li>\
         <li><a href=\"problems/not-found\">What problems look like</a>: every error links to its page</li>\
         <li><a href=\"healthz\">Is the process up?</a> <a href=\"readyz\">Is it ready?</a></li></ul>",
    )
}

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
    html_page(spec.title, "..", &body)
}

/// The OpenAPI document as text. `server` provides it, because the document describes the handlers.
#[derive(Clone, Copy)]
pub(in crate::http) struct OpenApiText(pub(in crate::http) &'static LazyLock<String>);

/// `GET /openapi.json`.
#[utoipa::path(get, path = "/openapi.json", tag = "Gateway", operation_id = "getOpenApi", summary = "This document", description = "What you are reading.",
    security(()), responses((status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json",
        body = Object)))]
pub(in crate::http) async fn openapi_json(context: RequestContext, text: ThinData<OpenApiText>) -> HttpResponse {
    let text = text.0.0.as_str();
    let mut response = HttpResponse::Ok();
    response.insert_header((CACHE_CONTROL, "no-cache")).content_type("application/json");
    match context.api().external_url.as_str() {
        "" => response.body(text),
        url => response.body(text.replacen(SERVER_URL, &format!("\"url\": \"{url}\""), 1)),
    }
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
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => bytes.into(),
    };
    Ok(response.content_type(found.content_type).body(bytes))
}

/// Links are relative, because a proxy may serve the gateway under a prefix; `home` leads to the
/// front page.
fn html_page(title: &str, home: &str, body: &str) -> HttpResponse {
    let title = escape_html(title);
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head>\
         <body><h1>{title}</h1>{body}<p><a href=\"{home}/\">records-gateway</a></p></body></html>"
    );
    HttpResponse::Ok()
        .insert_header((CONTENT_SECURITY_POLICY, CSP_DEFAULT.as_str()))
        .insert_header((CACHE_CONTROL, "no-cache"))
        .content_type("text/html; charset=utf-8")
        .body(html)
}

/// The texts of the problem table: escaped, and `code` between backticks marked up.
fn inline_code_html(text: &str) -> String {
    let mut html = String::with_capacity(text.len() + 32);
    for (index, part) in escape_html(text).split('`').enumerate() {
        if index % 2 == 1 {
            let _ = write!(html, "<code>{part}</code>");
        } else {
            html.push_str(part);
        }
    }
    html
}

fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
