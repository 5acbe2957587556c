//! One path of the API: its methods with their handlers, `Allow`, `OPTIONS`, and the middleware
//! that depends on the path.

use std::rc::Rc;

use actix_web::dev::{AppService, HttpServiceFactory};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::{FromRequest, Handler, HttpResponse, Resource, Responder, guard, web};

use super::context::RequestContext;
use super::error::HandlerResult;
use super::route::Route;
use super::{middleware, response};
use crate::metrics::RequestAction;
use crate::problem::ProblemKind;

/// A path with its handlers. A caller is required unless the path is declared public.
pub(super) struct Endpoint {
    route: Route,
    resource: Resource,
}

/// A path that needs a caller.
pub(super) fn endpoint(path: &'static str) -> Endpoint {
    Endpoint { route: Route::new(path), resource: web::resource(path) }
}

/// A path that is served without a caller.
pub(super) fn public(path: &'static str) -> Endpoint {
    let mut endpoint = endpoint(path);
    endpoint.route.is_public = true;
    endpoint
}

/// A public path for machines that watch the gateway.
pub(super) fn ops(path: &'static str) -> Endpoint {
    let mut endpoint = public(path);
    endpoint.route.is_ops = true;
    endpoint
}

impl Endpoint {
    /// Leaves paths with this end to a later endpoint. It costs requests less than a pattern before
    /// this one would.
    pub(super) fn except(self, end: &'static str) -> Self {
        let is_mine = guard::fn_guard(move |context| !context.head().uri.path().ends_with(end));
        Self { route: self.route, resource: self.resource.guard(is_mine) }
    }

    /// GET and HEAD (RFC 9110 §9.3.2).
    pub(super) fn get<F, Args>(self, action: RequestAction, handler: F) -> Self
    where
        F: Handler<Args, Output: Responder>,
        Args: FromRequest + 'static,
    {
        let route = web::route().guard(guard::Any(guard::Get()).or(guard::Head()));
        let with_get = self.add(Method::GET, action, route.to(handler));
        Self { route: with_get.route.with(Method::HEAD, action), ..with_get }
    }

    pub(super) fn post<F, Args>(self, action: RequestAction, handler: F) -> Self
    where
        F: Handler<Args, Output: Responder>,
        Args: FromRequest + 'static,
    {
        self.add(Method::POST, action, web::post().to(handler))
    }

    pub(super) fn patch<F, Args>(self, action: RequestAction, handler: F) -> Self
    where
        F: Handler<Args, Output: Responder>,
        Args: FromRequest + 'static,
    {
        self.add(Method::PATCH, action, web::patch().to(handler))
    }

    pub(super) fn delete<F, Args>(self, action: RequestAction, handler: F) -> Self
    where
        F: Handler<Args, Output: Responder>,
        Args: FromRequest + 'static,
    {
        self.add(Method::DELETE, action, web::delete().to(handler))
    }

    fn add(self, method: Method, action: RequestAction, handler: actix_web::Route) -> Self {
        Self { route: self.route.with(method, action), resource: self.resource.route(handler) }
    }
}

/// The second half of the middleware, which depends on the path. The first half is in `server`. The
/// last `wrap` is the outermost: a request passes `enter_route`, then `catch_panic`, then
/// `authenticate`.
impl HttpServiceFactory for Endpoint {
    fn register(self, config: &mut AppService) {
        let route = Rc::new(self.route);
        self.resource
            .route(web::method(Method::OPTIONS).to(options))
            // 401 comes after the 404 of a path and after 405 (contract 4).
            .wrap(from_fn(middleware::authenticate))
            // A panic costs its request a 500 and nothing more; the response needs a clone of the
            // request, which actix-web allows only here.
            .wrap(from_fn(middleware::catch_panic))
            // 405; metrics and span learn the path, the system and the action.
            .wrap(from_fn(move |request, next| middleware::enter_route(Rc::clone(&route), request, next)))
            .register(config);
    }
}

/// `OPTIONS` of any path.
pub(super) async fn options(context: RequestContext) -> HandlerResult {
    let Some(route) = context.state().route() else {
        return Err(ProblemKind::NotFound.with_detail("there is nothing at this path").into());
    };
    let system = if route.names_system() { Some(&**context.system()?) } else { None };
    let allow = route.allow_header(system);
    let takes_patch = allow.contains("PATCH");
    let mut response = HttpResponse::NoContent();
    response.insert_header(("Allow", allow)).insert_header(response::NO_STORE);
    if takes_patch {
        response.insert_header(("Accept-Patch", response::ACCEPT_PATCH));
    }
    Ok(response.finish())
}
