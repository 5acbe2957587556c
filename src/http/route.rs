//! What is known of a path without a request: its methods, `Allow`, and the label of its metrics.

use actix_web::http::Method;

use crate::metrics::RequestAction;
use crate::problem::{Problem, ProblemKind};
use crate::record::Action;
use crate::system::System;

/// A path and its methods.
pub(super) struct Route {
    /// The path with its parameters' names (`http.route`).
    pub(super) path: &'static str,
    /// The methods that any vendor may have, in the order of `Allow`, with the `action` label of
    /// their metrics.
    methods: Vec<(Method, RequestAction)>,
    /// Whether it is served without a caller.
    pub(super) is_public: bool,
    /// Whether it is for machines that watch the gateway: such requests have no spans.
    pub(super) is_ops: bool,
}

impl Route {
    pub(super) fn new(path: &'static str) -> Self {
        Self { path, methods: Vec::new(), is_public: false, is_ops: false }
    }

    /// The target `*` (RFC 9110 §9.3.7): every method of the API.
    pub(super) fn server_wide() -> Self {
        let methods = [Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE];
        let methods = methods.map(|method| (method, RequestAction::Other)).into();
        Self { methods, is_public: true, ..Self::new("*") }
    }

    /// The same path with one more method.
    pub(super) fn with(mut self, method: Method, action: RequestAction) -> Self {
        self.methods.push((method, action));
        self
    }

    /// Whether the path takes the method at all.
    pub(super) fn allows(&self, method: &Method) -> bool {
        method == Method::OPTIONS || self.methods.iter().any(|(allowed, _)| allowed == method)
    }

    /// `Allow`: for a system what its vendor can do (RFC 9110 §15.5.5: what the target takes now).
    pub(super) fn allow_header(&self, system: Option<&System>) -> String {
        let can = |method: &Method| {
            let Some(system) = system else { return true };
            let actions = system.adapter.capabilities().actions;
            match *method {
                Method::GET | Method::HEAD => actions.contains(&Action::Read),
                Method::POST => actions.contains(&Action::Create),
                Method::PATCH => actions.contains(&Action::Update),
                Method::DELETE => actions.contains(&Action::Delete),
                _ => true,
            }
        };
        let allowed = self.methods.iter().map(|(method, _)| method).filter(|method| can(method));
        allowed.chain([&Method::OPTIONS]).map(Method::as_str).collect::<Vec<_>>().join(", ")
    }

    /// The `action` label of a request. A method that the path does not take has the label that all
    /// others share, if they do.
    pub(super) fn action(&self, method: &Method) -> RequestAction {
        let (first, more) = match self.methods.as_slice() {
            [(_, first), more @ ..] => (*first, more),
            [] => return RequestAction::Other,
        };
        let found = self.methods.iter().find(|(allowed, _)| allowed == method).map(|(_, action)| *action);
        let shared = more.iter().all(|(_, action)| *action == first);
        found.unwrap_or(if shared { first } else { RequestAction::Other })
    }

    /// Whether the path names a system.
    pub(super) fn names_system(&self) -> bool {
        self.path.contains("{system}")
    }

    /// 405 with `Allow`.
    pub(super) fn method_not_allowed(&self, system: Option<&System>) -> Problem {
        let mut problem = ProblemKind::MethodNotAllowed
            .with_detail("the path does not take this method; `Allow` lists those that it takes");
        problem.allow = Some(self.allow_header(system));
        problem
    }
}
