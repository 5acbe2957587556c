//! The OpenAPI 3.1 document: what stands at each handler, completed here with what is the same everywhere: problems, header
//! fields, links.

mod examples;
mod params;
mod problems;
mod response_headers;
mod schemas;

use std::sync::LazyLock;

use actix_web::HttpResponse;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

pub(super) use examples::{bluedolphin, json_patch, matrix42, new_bluedolphin, new_matrix42, new_pretectum, pretectum};
use problems::ProblemResponses;
use response_headers::ResponseHeaders;

pub(super) use params::{
    CollectionPath, IfMatch, LedgerListParams, ListParams, OperationListParams, OperationPath, ProblemPath,
    ReadHeaderParams, RecordPath, SystemPath, WriteHeaderParams,
};
pub(super) use schemas::{JsonPatch, LedgerPage, MergePatch, NewRecord, OperationPage, Status, SystemList};

static OPENAPI_JSON: LazyLock<String> = LazyLock::new(openapi_json);

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "records-gateway",
        description = "One way to read and change a record, whatever system holds it, and no update is ever lost, repeated or \
            misreported by the gateway.\n\n\
            Read a record, keep its `ETag`, send it as `If-Match` with the change: a change made by somebody else in between is \
            never overwritten (412). Send an `Idempotency-Key` with a write, and repeating it is safe. Every error is a problem \
            document (RFC 9457) whose `type` leads to a page that says what to do.\n\n\
            Wherever GET works, HEAD does too; OPTIONS answers `Allow`.",
        contact(name = "The operator of this gateway"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This gateway")),
    security(("key" = [])),
    tags(
        (name = "Records", description = "Reading and changing records"),
        (name = "Operations", description = "What became of writes"),
        (name = "Systems", description = "What is configured, and what it can do"),
        (name = "Gateway", description = "The gateway itself"),
    ),
    paths(
        super::records::list, super::writes::create,
        super::records::show, super::writes::update, super::writes::delete,
        super::operations::list, super::operations::show, super::ledger::list,
        super::systems::list, super::systems::show,
        super::health::healthz, super::health::readyz, super::health::metrics,
        super::html::home, super::html::problem, get_openapi,
    ),
    components(schemas(crate::problem::ProblemDocument)),
    modifiers(&BearerAuthScheme, &ResponseHeaders, &ProblemResponses),
)]
struct ApiDoc;

/// `Authorization: Bearer KEY`.
struct BearerAuthScheme;

impl Modify for BearerAuthScheme {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
        let scheme = scheme.description(Some("A key (or token) that the operator has given you")).build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme));
    }
}

/// The OpenAPI 3.1 document.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    ApiDoc::openapi()
}

/// Its text, as `records-gateway openapi` prints it and `/openapi.json` serves it.
#[must_use]
pub fn openapi_json() -> String {
    let mut text = openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "Gateway", operation_id = "getOpenApi", summary = "This document", description = "What you are reading.",
    security(()), responses((status = 200, description = "The OpenAPI 3.1 document", content_type = "application/json",
        body = Object)))]
pub(super) fn get_openapi() -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("Cache-Control", "no-cache"))
        .content_type("application/json")
        .body(OPENAPI_JSON.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;

    const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

    /// `UPDATE_OPENAPI=1 cargo test --lib openapi` writes it anew.
    #[test]
    fn the_snapshot_matches_the_generated_document() {
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(SNAPSHOT, openapi_json()).expect("written");
        }
        let snapshot = std::fs::read_to_string(SNAPSHOT).expect("openapi/openapi.json");
        assert!(snapshot == openapi_json(), "openapi/openapi.json is old: UPDATE_OPENAPI=1 cargo test --lib openapi");
    }

    #[test]
    fn every_problem_is_documented_somewhere() {
        let text = openapi_json();
        for problem in ProblemKind::ALL {
            assert!(text.contains(&format!("`{}`", problem.as_str())), "{}", problem.as_str());
        }
    }

    #[test]
    fn the_document_has_if_match_and_examples_for_a_patch() {
        let document: serde_json::Value = serde_json::from_str(&openapi_json()).expect("JSON");
        let patch = &document["paths"]["/records/{system}/{id}"]["patch"];
        let if_match = patch["parameters"].as_array().expect("parameters").iter().find(|one| one["name"] == "If-Match");
        assert_eq!(if_match.expect("If-Match")["in"], "header");
        for kind in ["application/merge-patch+json", "application/json-patch+json", "application/json"] {
            assert!(patch["requestBody"]["content"][kind]["examples"].is_object(), "{kind}");
        }
        assert!(document["paths"]["/records/{system}/{id}"]["get"]["responses"]["200"]["headers"]["ETag"].is_object());
    }
}
