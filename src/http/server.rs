//! The application: every path, the middleware, and which listener serves what.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::middleware::from_fn;
use actix_web::web::{self, ServiceConfig, ThinData};
use actix_web::{App, Error};

use super::context::RequestContext;
use super::endpoint::{endpoint, ops, options, public};
use super::error::HandlerResult;
use super::handlers::{
    batch, changes, collections, console, docs, health, home, ledger, ledger_chain, models, operations,
    operator_actions, previews, record_reads, record_writes, status, stored_batches, systems,
};
use super::route::Route;
use super::state::SharedApiState;
use super::{compat, middleware};
use crate::metrics::RequestAction::{
    Batch, Console, Create, Delete, Ledger, List, Operation, Other, Preview, Read, Schema, Update,
};
use crate::problem::ProblemKind;

/// Which address an application serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// `bind` without an `ops_bind` beside it: the API, health and metrics.
    Everything,
    /// `bind` beside an `ops_bind`: the API.
    Api,
    /// `ops_bind`: health and metrics.
    Ops,
}

/// The application of one listener: what each worker of it runs.
///
/// The last `wrap` is the outermost. A request passes `guard_connection`, `create_request_state`,
/// `record_metrics`, `render_problems` and `validate_head`, and then the middleware of its
/// `endpoint`.
pub fn app(
    state: &Arc<SharedApiState>,
    listener: Listener,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<BoxBody>,
        Error = Error,
        InitError = (),
        Service: 'static,
        Future: 'static,
    > + use<>,
> {
    let (shared, created, guarded) = (Arc::clone(state), Arc::clone(state), Arc::clone(state));
    App::new()
        .app_data(ThinData(shared))
        .configure(|config| routes(config, listener))
        // HTTP itself comes before any route: 501, 431, 400, 414 (contract 4).
        .wrap(from_fn(middleware::validate_head))
        // Turns the errors of the middleware above and of handlers into problem documents, and
        // drains an unread body.
        .wrap(from_fn(middleware::render_problems))
        // Counts and traces requests. One whose caller disconnects has no outcome and is not
        // counted.
        .wrap(from_fn(middleware::record_metrics))
        // Creates the state that the middleware above and the handlers share; adds
        // X-Request-Id.
        .wrap(from_fn(move |request, next| middleware::create_request_state(created.load(), request, next)))
        // Corrects what actix-http does to responses on connections with several requests.
        .wrap(from_fn(move |request, next| compat::guard_connection(Arc::clone(&guarded), request, next)))
}

/// Every path (contract 4). Those of one record come first: most requests name them, and actix-web
/// compares in this order.
fn routes(config: &mut ServiceConfig, listener: Listener) {
    if listener != Listener::Ops {
        config
            .app_data(ThinData(home::HasHealth(listener == Listener::Everything)))
            .service(
                endpoint("/records/{system}/{id}")
                    .except("/preview")
                    .get(Read, record_reads::get)
                    .patch(Update, record_writes::update)
                    .delete(Delete, record_writes::delete),
            )
            .service(
                endpoint("/models/{model}/{system}/{id}")
                    .except("/preview")
                    .get(Read, record_reads::get)
                    .patch(Update, record_writes::update)
                    .delete(Delete, record_writes::delete),
            )
            .service(endpoint("/records/{system}/preview").post(Preview, previews::new_record))
            .service(endpoint("/records/{system}/{id}/preview").post(Preview, previews::change_or_delete))
            .service(endpoint("/records/{system}").get(List, record_reads::list).post(Create, record_writes::create))
            .service(endpoint("/operations/{id}/settle").post(Operation, operator_actions::probe_again))
            .service(endpoint("/operations/{id}/resolve").post(Operation, operator_actions::resolve))
            .service(endpoint("/batch").post(Batch, batch::run))
            .service(endpoint("/batch/preview").post(Preview, batch::preview))
            .service(endpoint("/batches/{id}").get(Batch, stored_batches::get).delete(Batch, stored_batches::cancel))
            // Before the path of a system, whose name it would be.
            .service(endpoint("/models/{model}/schema").get(Other, models::schema))
            .service(endpoint("/models/{model}/{system}/preview").post(Preview, previews::new_record))
            .service(endpoint("/models/{model}/{system}/{id}/preview").post(Preview, previews::change_or_delete))
            .service(
                endpoint("/models/{model}/{system}").get(List, record_reads::list).post(Create, record_writes::create),
            )
            .service(endpoint("/models/{model}").get(List, models::get))
            .service(endpoint("/models").get(Other, models::list))
            .service(endpoint("/operations/{id}").get(Operation, operations::get))
            .service(endpoint("/operations").get(Operation, operations::list))
            .service(endpoint("/ledger/head").get(Ledger, ledger_chain::head))
            .service(endpoint("/ledger/verify").get(Ledger, ledger_chain::verify))
            .service(endpoint("/ledger").get(Ledger, ledger::list))
            .service(endpoint("/changes").get(Other, changes::list))
            .service(endpoint("/status").get(Other, status::get))
            .service(endpoint("/systems/{system}/collections/{collection}/schema").get(Schema, collections::schema))
            .service(endpoint("/systems/{system}/openapi.json").get(Schema, systems::openapi_json))
            .service(endpoint("/systems/{system}/collections").get(Schema, collections::list))
            .service(endpoint("/systems/{system}").get(Other, systems::get))
            .service(endpoint("/systems").get(Other, systems::list))
            .service(public("/").get(Other, home::home))
            .service(public("/openapi.json").get(Other, docs::openapi_json))
            .service(public("/docs").get(Other, docs::redirect))
            .service(public("/docs/{file:[^/]*}").get(Other, docs::swagger_ui))
            .service(public("/console").get(Console, console::redirect))
            .service(public("/console/{file:[^/]*}").get(Console, console::file))
            .service(public("/problems/{name}").get(Other, docs::problem));
    }
    if listener != Listener::Api {
        config
            .service(ops("/healthz").get(Other, health::healthz))
            .service(ops("/readyz").get(Other, health::readyz))
            .service(ops("/metrics").get(Other, health::metrics));
    }
    config.default_service(web::to(unmatched));
}

/// A target that no route matches: `*`, to which only OPTIONS applies, or a path that does not
/// exist.
async fn unmatched(context: RequestContext) -> HandlerResult {
    let Some(request) = context.http_request() else {
        return Err(ProblemKind::NotFound.with_detail("there is nothing at this path").into());
    };
    if request.uri().path() != "*" {
        context.state().set_target(request, None, None);
        let detail = "there is nothing at this path; /docs/ lists the paths that exist";
        return Err(ProblemKind::NotFound.with_detail(detail).into());
    }
    let route = Rc::new(Route::server_wide());
    context.state().set_target(request, Some(Rc::clone(&route)), None);
    match *context.method() {
        Method::OPTIONS => options(context).await,
        ref method if route.allows(method) => {
            Err(ProblemKind::NotFound.with_detail("only OPTIONS takes the target `*`").into())
        }
        _ => Err(route.method_not_allowed(None).into()),
    }
}
