//! Pages for people: one layout, one style sheet, nothing loaded.

use std::fmt::Write as _;
use std::sync::LazyLock;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY};
use actix_web::{HttpResponse, HttpResponseBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::record::sha256;

/// The console has the same file. Here it is part of the page, so that a page is one request.
const STYLE: &str = include_str!("console/style.css");

/// Allows the one style sheet, by its hash.
static CSP_DEFAULT: LazyLock<String> = LazyLock::new(|| {
    let hash = STANDARD.encode(sha256([STYLE.as_bytes()]));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    )
});

/// Links are relative, because a proxy may serve the gateway under a prefix; `home` leads to the
/// front page from every other one.
pub(super) fn html_page(title: &str, home: Option<&str>, body: &str) -> HttpResponse {
    html_response(HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-cache")), title, home, body)
}

/// The same as the body of a response that has its status and its other headers.
pub(super) fn html_response(
    response: &mut HttpResponseBuilder,
    title: &str,
    home: Option<&str>,
    body: &str,
) -> HttpResponse {
    let title = escape_html(title);
    let home = home.map(|home| format!("<p><a href=\"{home}/\">records-gateway</a></p>")).unwrap_or_default();
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\">\
         <style>{STYLE}</style></head><body><main><h1>{title}</h1>{body}{home}</main></body></html>"
    );
    response
        .insert_header((CONTENT_SECURITY_POLICY, CSP_DEFAULT.as_str()))
        .content_type("text/html; charset=utf-8")
        .body(html)
}

/// The texts of the problem table: escaped, and `code` between backticks marked up.
pub(super) fn inline_code_html(text: &str) -> String {
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

pub(super) fn escape_html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
