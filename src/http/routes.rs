//! The route table (contract 4): which paths there are, what they take, and who answers.

use std::borrow::Cow;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::web::Payload;

use super::service::{HandlerResult, RequestContext};
use super::{ApiState, Listener, health, html, ledger, openapi, operations, records, response, systems, writes};
use crate::gateway::System;
use crate::problem::ProblemKind;
use crate::record::Action;

/// A path that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `OPTIONS *` (RFC 9110 §9.3.7).
    Server,
    Home,
    Healthz,
    Readyz,
    Metrics,
    OpenApi,
    DocsWithoutSlash,
    Docs(String),
    ProblemPage(ProblemKind),
    Systems,
    System(String),
    Operations,
    Operation(String),
    Ledger,
    Collection(String),
    Record {
        system: String,
        id: String,
    },
}

impl Route {
    /// The route of a path, given as its decoded segments; a trailing slash is an empty last segment.
    pub(super) fn find(segments: &[Cow<'_, str>]) -> Option<Self> {
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        Some(match segments.as_slice() {
            [""] => Self::Home,
            ["healthz"] => Self::Healthz,
            ["readyz"] => Self::Readyz,
            ["metrics"] => Self::Metrics,
            ["openapi.json"] => Self::OpenApi,
            ["docs"] => Self::DocsWithoutSlash,
            ["docs", file] => Self::Docs((*file).to_owned()),
            ["problems", name] => Self::ProblemPage(ProblemKind::parse(name)?),
            ["systems"] => Self::Systems,
            ["systems", system] if !system.is_empty() => Self::System((*system).to_owned()),
            ["operations"] => Self::Operations,
            ["operations", id] if !id.is_empty() => Self::Operation((*id).to_owned()),
            ["ledger"] => Self::Ledger,
            ["records", system] if !system.is_empty() => Self::Collection((*system).to_owned()),
            ["records", system, id] if !system.is_empty() && !id.is_empty() => {
                Self::Record { system: (*system).to_owned(), id: (*id).to_owned() }
            }
            _ => return None,
        })
    }

    /// The path with its parameters' names (`http.route`).
    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Server => "*",
            Self::Home => "/",
            Self::Healthz => "/healthz",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
            Self::OpenApi => "/openapi.json",
            Self::DocsWithoutSlash => "/docs",
            Self::Docs(_) => "/docs/{file}",
            Self::ProblemPage(_) => "/problems/{name}",
            Self::Systems => "/systems",
            Self::System(_) => "/systems/{system}",
            Self::Operations => "/operations",
            Self::Operation(_) => "/operations/{id}",
            Self::Ledger => "/ledger",
            Self::Collection(_) => "/records/{system}",
            Self::Record { .. } => "/records/{system}/{id}",
        }
    }

    /// Whether it is served by this listener.
    pub(super) fn is_served(&self, api: &ApiState, listener: Listener) -> bool {
        let ops = matches!(self, Self::Healthz | Self::Readyz | Self::Metrics);
        match listener {
            Listener::Ops => ops,
            Listener::Main => !ops || !api.separate_ops,
        }
    }

    /// The open routes. Everything else, whatever is added later, needs a caller.
    pub(super) fn is_open(&self) -> bool {
        matches!(
            self,
            Self::Server
                | Self::Home
                | Self::Healthz
                | Self::Readyz
                | Self::Metrics
                | Self::OpenApi
                | Self::DocsWithoutSlash
                | Self::Docs(_)
                | Self::ProblemPage(_)
        )
    }

    /// What the path as such takes: all that any vendor can do.
    fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::Collection(_) => &["GET", "HEAD", "POST", "OPTIONS"],
            Self::Record { .. } => &["GET", "HEAD", "PATCH", "DELETE", "OPTIONS"],
            Self::Server => &["GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"],
            _ => &["GET", "HEAD", "OPTIONS"],
        }
    }

    /// Whether the path takes a method.
    pub(super) fn takes(&self, method: &Method) -> bool {
        self.methods().contains(&method.as_str())
    }

    /// `Allow` of the path as such.
    pub(super) fn allow(&self) -> String {
        self.methods().join(", ")
    }

    /// `Allow` for this very system (RFC 9110 §15.5.5: what the target takes now).
    pub(super) fn allow_of(&self, system: &System) -> String {
        let actions = system.adapter.capabilities().actions;
        let can = |method: &&str| match *method {
            "GET" | "HEAD" => actions.contains(&Action::Read),
            "POST" => actions.contains(&Action::Create),
            "PATCH" => actions.contains(&Action::Update),
            "DELETE" => actions.contains(&Action::Delete),
            _ => true,
        };
        self.methods().iter().copied().filter(can).collect::<Vec<_>>().join(", ")
    }

    /// The system it names.
    pub(super) fn system(&self) -> Option<&str> {
        match self {
            Self::System(system) | Self::Collection(system) | Self::Record { system, .. } => Some(system),
            _ => None,
        }
    }

    /// The `action` label of the metrics.
    pub(super) fn action(&self, method: &Method) -> &'static str {
        match (self, method.as_str()) {
            (Self::Record { .. }, "GET" | "HEAD") => "read",
            (Self::Record { .. }, "PATCH") => "update",
            (Self::Record { .. }, "DELETE") => "delete",
            (Self::Collection(_), "GET" | "HEAD") => "list",
            (Self::Collection(_), "POST") => "create",
            (Self::Operations | Self::Operation(_), _) => "operation",
            (Self::Ledger, _) => "ledger",
            _ => "other",
        }
    }

    /// Hands the request to its handler. The method is one that it [`takes`](Self::takes).
    pub(super) async fn answer(&self, inbound: &RequestContext<'_>, payload: &mut Payload) -> HandlerResult {
        match (self, inbound.method.as_str()) {
            (_, "OPTIONS") => options(self, inbound),
            // Only OPTIONS comes with the target `*`; other methods have no meaning there.
            (Self::Server, _) => Err(ProblemKind::NotFound.with_detail("only OPTIONS takes the target `*`").into()),
            (Self::Home, _) => Ok(html::home()),
            (Self::Healthz, _) => Ok(health::healthz()),
            (Self::Readyz, _) => within(inbound, health::readyz(inbound)).await,
            (Self::Metrics, _) => Ok(health::metrics(inbound)),
            (Self::OpenApi, _) => Ok(openapi::get_openapi()),
            (Self::DocsWithoutSlash, _) => Ok(html::docs_redirect()),
            (Self::Docs(file), _) => html::docs(file),
            (Self::ProblemPage(name), _) => Ok(html::problem(*name)),
            (Self::Systems, _) => systems::list(inbound),
            (Self::System(name), _) => systems::show(inbound, name),
            (Self::Operations, _) => within(inbound, operations::list(inbound)).await,
            (Self::Operation(id), _) => within(inbound, operations::show(inbound, id)).await,
            (Self::Ledger, _) => within(inbound, ledger::list(inbound)).await,
            (Self::Collection(system), "POST") => writes::create(inbound, system, payload).await,
            (Self::Collection(system), _) => records::list(inbound, system).await,
            (Self::Record { system, id }, "PATCH") => writes::update(inbound, system, id, payload).await,
            (Self::Record { system, id }, "DELETE") => writes::delete(inbound, system, id).await,
            (Self::Record { system, id }, _) => records::show(inbound, system, id).await,
        }
    }
}

/// What only the store answers, within the request's deadline.
async fn within(inbound: &RequestContext<'_>, answer: impl Future<Output = HandlerResult>) -> HandlerResult {
    tokio::time::timeout_at(inbound.deadline, answer).await.unwrap_or_else(|_| {
        let problem = ProblemKind::Overloaded.with_detail("the store did not answer in time");
        Err(problem.retry_after(Duration::from_secs(1)).into())
    })
}

fn options(route: &Route, inbound: &RequestContext<'_>) -> HandlerResult {
    let allow = match route.system() {
        Some(name) => route.allow_of(inbound.find_system(name)?),
        None => route.allow(),
    };
    let patchable = allow.contains("PATCH");
    let mut answer = HttpResponse::NoContent();
    answer.insert_header(("Allow", allow)).insert_header(response::NO_STORE);
    if patchable {
        answer.insert_header(("Accept-Patch", response::ACCEPT_PATCH));
    }
    Ok(answer.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Option<Route> {
        let segments: Vec<_> = path[1..].split('/').map(Cow::Borrowed).collect();
        Route::find(&segments)
    }

    #[test]
    fn only_the_paths_of_the_contract_exist() {
        for path in [
            "/records",
            "/records/",
            "/records/crm/",
            "/records/crm/a/",
            "/records/crm/a/preview",
            "/records//a",
            "/systems/",
            "/operations/",
            "/ledger/",
            "/healthz/",
            "/problems",
            "/problems/unheard-of",
            "/docs/a/b",
            "/Records/crm",
            "//",
        ] {
            assert_eq!(find(path), None, "{path}");
        }
        assert_eq!(find("/"), Some(Route::Home));
        assert_eq!(find("/docs/"), Some(Route::Docs(String::new())));
        assert_eq!(find("/records/crm/a:b"), Some(Route::Record { system: "crm".into(), id: "a:b".into() }));
    }

    #[test]
    fn everything_but_the_named_routes_needs_a_caller() {
        for (path, open) in [
            ("/", true),
            ("/healthz", true),
            ("/readyz", true),
            ("/metrics", true),
            ("/openapi.json", true),
            ("/docs/", true),
            ("/problems/rejected", true),
            ("/systems", false),
            ("/systems/crm", false),
            ("/operations", false),
            ("/operations/1", false),
            ("/ledger", false),
            ("/records/crm", false),
            ("/records/crm/a", false),
        ] {
            assert_eq!(find(path).expect("a route").is_open(), open, "{path}");
        }
    }
}
