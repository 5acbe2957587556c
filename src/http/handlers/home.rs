//! The front page: what this gateway fronts, where everything is, and three requests to try.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::http::header::{CACHE_CONTROL, HOST, HeaderValue, VARY};
use actix_web::web::ThinData;

use crate::http::compat;
use crate::http::context::RequestContext;
use crate::http::headers;
use crate::http::html::{escape_html, html_page};
use crate::system::System;
use crate::transport::CircuitState;

/// Whether `/healthz` and `/readyz` are on the same address.
#[derive(Clone, Copy)]
pub(in crate::http) struct HasHealth(pub(in crate::http) bool);

/// `GET /`.
#[utoipa::path(get, path = "/", tag = "Gateway", operation_id = "getHome", security(()),
    summary = "The front page", description = "What this gateway fronts, as far as the caller may see it, links to its pages, and three requests to try.",
    responses((status = 200, description = "The page", content_type = "text/html", body = String)))]
pub(in crate::http) async fn home(context: RequestContext, health: ThinData<HasHealth>) -> HttpResponse {
    let api = context.api();
    let caller = api.authenticator.authenticate(headers::bearer(context.headers())).await.ok();
    let visible: Option<Vec<&System>> = caller.as_ref().map(|caller| {
        let systems = api.systems.iter().map(|system| &**system);
        systems.filter(|system| caller.can_anything(system.name.as_str())).collect()
    });
    let mut body = "<p>One way to read and change a record, whatever system holds it.</p>".to_owned();
    append_systems(&mut body, visible.as_deref());
    append_links(&mut body, api.console, health.0.0);
    let is_open = api.authenticator.is_open();
    append_requests(&mut body, &own_url(&context), visible.as_deref().and_then(<[_]>::first).copied(), is_open);
    let mut response = html_page("records-gateway", None, &body);
    // What it shows depends on the caller.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response.headers_mut().insert(VARY, HeaderValue::from_static("Authorization"));
    response
}

/// Writing into a String cannot fail.
macro_rules! append {
    ($html:expr, $($text:tt)*) => { let _ = write!($html, $($text)*); };
}

fn append_systems(html: &mut String, visible: Option<&[&System]>) {
    html.push_str("<h2>The systems behind this gateway</h2>");
    match visible {
        None => html.push_str("<p>They are shown to callers with credentials.</p>"),
        Some([]) => html.push_str("<p>You have no permission on any of them.</p>"),
        Some(systems) => {
            html.push_str("<table><thead><tr><th>Name</th><th>Vendor</th><th>State</th></tr></thead><tbody>");
            for system in systems {
                let name = system.name.as_str();
                let (tone, state) = state_of(system);
                append!(
                    html,
                    "<tr><td><a href=\"systems/{name}\">{name}</a></td><td>{}</td>\
                     <td><span class=\"tag {tone}\">{state}</span></td></tr>",
                    escape_html(system.adapter.capabilities().vendor)
                );
            }
            html.push_str("</tbody></table>");
        }
    }
}

/// The class of the style sheet, and a word.
fn state_of(system: &System) -> (&'static str, &'static str) {
    let health = system.transport.health();
    match health.circuit {
        CircuitState::Open => ("bad", "failing"),
        CircuitState::HalfOpen => ("warn", "half-open"),
        CircuitState::Closed if health.last_success.is_none() => ("quiet", "not called yet"),
        CircuitState::Closed => ("good", "works"),
    }
}

fn append_links(html: &mut String, has_console: bool, has_health: bool) {
    html.push_str("<h2>Where everything is</h2><ul>");
    if has_console {
        html.push_str("<li><a href=\"console/\">Console</a>: systems, operations, the ledger</li>");
    }
    html.push_str(
        "<li><a href=\"docs/\">API, to read and to try out</a> (<a href=\"openapi.json\">OpenAPI document</a>)</li>\
         <li><a href=\"systems\">Systems</a>, with what each can do, and <a href=\"models\">models</a>, the shapes that several of them \
         share (both need credentials)</li>\
         <li><a href=\"problems/not-found\">Problems</a>: every error links to its page</li>",
    );
    if has_health {
        html.push_str("<li><a href=\"healthz\">Is the process up?</a> <a href=\"readyz\">Is it ready?</a></li>");
    }
    html.push_str("</ul>");
}

/// Three requests that change nothing.
fn append_requests(html: &mut String, url: &str, system: Option<&System>, is_open: bool) {
    let system = system.map_or("SYSTEM", |system| system.name.as_str());
    let key = if is_open { "" } else { " -H \"Authorization: Bearer $KEY\"" };
    html.push_str("<h2>Three requests to try</h2>");
    if !is_open {
        html.push_str("<p>With your key in <code>KEY</code>:</p>");
    }
    html.push_str("<pre>");
    for path in ["systems", &format!("records/{system}?limit=2"), "operations?order=desc&limit=5"] {
        append!(html, "{}\n", escape_html(&format!("curl -i{key} '{url}/{path}'")));
    }
    html.push_str("</pre>");
}

/// How the caller reached the gateway: `external_url`, or else the host of the request.
fn own_url(context: &RequestContext) -> String {
    let configured = context.api().external_url.as_str();
    if !configured.is_empty() {
        return configured.to_owned();
    }
    let scheme = if context.http_request().is_some_and(compat::is_over_tls) { "https" } else { "http" };
    let is_host = |text: &&str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte));
    let host = context.headers().get(HOST).and_then(|host| host.to_str().ok()).filter(is_host);
    format!("{scheme}://{}", host.unwrap_or("HOST"))
}
