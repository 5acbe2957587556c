//! The OpenAPI 3.1 document. Each handler describes its operation; problems, headers and links are
//! added here.

mod enum_members;
pub(super) mod examples;
mod generated_types;
mod generator_compat;
mod model_bodies;
mod model_paths;
mod operations;
mod params;
mod prefill;
mod problems;
mod request_bodies;
mod response_headers;
mod system_document;

use std::sync::Arc;

use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi as _};

use crate::models::Model;
use crate::vendors::VENDORS;

use examples::VendorExamples;
use model_paths::ModelPaths;
pub use model_paths::VendorOfSystem;
use problems::ProblemResponses;
use response_headers::ResponseHeaders;

pub(super) use model_bodies::{ModelListParams, ModelPath};
pub(super) use params::{
    BatchHeaderParams, BatchListParams, BatchPath, ChangeListParams, IfMatch, LastEventId, LedgerListParams,
    LedgerVerifyParams, ListParams, OperationListParams, OperationPath, PageParams, PreviewParams, ProblemPath,
    ReadHeaderParams, RecordPath, SchemaParams, SchemaPath, SystemPath, WriteHeaderParams,
};
pub(super) use request_bodies::{BatchBody, BatchPhase, BatchResult, JsonPatch, MergePatch, RecordDraft, StoredBatch};
pub(super) use system_document::{sample_collection, system_document};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "records-gateway",
        description = "One way to read and change a record, whatever system holds it, and no update is ever lost, repeated or \
            misreported by the gateway.\n\n\
            Read a record, keep its `ETag`, send it as `If-Match` with the change: a change that another client made in between is \
            never overwritten (412). Send an `Idempotency-Key` with a write, and repeating it is safe. Every error is a problem \
            document (RFC 9457) whose `type` links to a page that explains what to do.\n\n\
            Every path that takes GET takes HEAD as well; OPTIONS returns `Allow`.",
        contact(name = "The operator of this gateway"),
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "This gateway")),
    security(("key" = [])),
    tags(
        (name = "Records", description = "Reading and changing records"),
        (name = "Models", description = "Records in normalized shapes that the operator has declared over several systems"),
        (name = "Operations", description = "The outcomes of writes"),
        (name = "Systems", description = "What is configured, and what it can do"),
        (name = "Gateway", description = "The gateway itself"),
    ),
    paths(
        super::handlers::record_reads::list, super::handlers::record_writes::create,
        super::handlers::record_reads::get, super::handlers::record_writes::update, super::handlers::record_writes::delete,
        super::handlers::previews::new_record, super::handlers::previews::change_or_delete,
        super::handlers::operations::list, super::handlers::operations::get,
        super::handlers::operator_actions::probe_again, super::handlers::operator_actions::resolve,
        super::handlers::ledger::list, super::handlers::ledger_chain::head,
        super::handlers::ledger_chain::verify, super::handlers::changes::list, super::handlers::status::get,
        super::handlers::batch::run, super::handlers::batch::preview,
        super::handlers::stored_batches::get, super::handlers::stored_batches::cancel, super::handlers::models::list, super::handlers::models::get,
        super::handlers::models::schema,
        super::handlers::systems::list, super::handlers::systems::get, super::handlers::systems::openapi_json,
        super::handlers::collections::list, super::handlers::collections::schema,
        super::handlers::health::healthz, super::handlers::health::readyz, super::handlers::health::metrics,
        super::handlers::home::home, super::handlers::docs::problem, super::handlers::docs::openapi_json,
    ),
    components(schemas(
        crate::problem::ProblemDocument, model_bodies::ModelDocument, model_bodies::ModelDocumentPage, model_bodies::VendorPart,
        model_bodies::ModelMergePatch, model_bodies::ModelDraft,
    )),
    modifiers(&BearerAuthScheme, &VendorExamples, &ResponseHeaders, &ProblemResponses, &ModelPaths),
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

/// Its text, which `records-gateway openapi` prints and `/openapi.json` serves.
#[must_use]
pub fn openapi_json() -> String {
    to_text(&document())
}

/// The same as a value, in a form that generators turn into code that compiles.
fn document() -> Value {
    let mut document = serde_json::to_value(openapi()).unwrap_or_default();
    generator_compat::adapt_to_generators(&mut document);
    enum_members::add_enums(&mut document);
    // The record that the parameters name is a sample of the first vendor.
    if let Some(first) = VENDORS.first() {
        examples::put_first(&mut document, first.samples.title);
    }
    document
}

fn to_text(document: &Value) -> String {
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// The same with the paths and the types of these models.
#[must_use]
pub fn openapi_json_with(models: &[Arc<Model>], vendor_of: VendorOfSystem<'_>) -> String {
    if models.is_empty() {
        return openapi_json();
    }
    let mut document = document();
    model_paths::add_models(&mut document, models, vendor_of);
    to_text(&document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::ProblemKind;

    const SNAPSHOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json");

    /// `UPDATE_OPENAPI=1 cargo test --lib openapi` updates it.
    #[test]
    fn the_snapshot_matches_the_generated_document() {
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(SNAPSHOT, openapi_json()).expect("written");
        }
        let snapshot = std::fs::read_to_string(SNAPSHOT).expect("openapi/openapi.json");
        assert!(
            snapshot == openapi_json(),
            "openapi/openapi.json is out of date: UPDATE_OPENAPI=1 cargo test --lib openapi"
        );
    }

    #[test]
    fn every_reference_leads_to_a_component() {
        let document: Value = serde_json::from_str(&openapi_json()).expect("JSON");
        let text = openapi_json();
        let targets = text.split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next());
        let missing: Vec<&str> = targets.filter(|target| document.pointer(target).is_none()).collect();
        assert_eq!(missing, Vec::<&str>::new());
    }

    #[test]
    fn no_two_schemas_have_names_that_a_generator_takes_for_one() {
        let document: Value = serde_json::from_str(&openapi_json()).expect("JSON");
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        for name in schemas.keys() {
            // Constructors are named so.
            assert!(!schemas.contains_key(&format!("New{name}")), "New{name}");
            assert!(!["Record", "Object", "Error", "Map"].contains(&name.as_str()), "{name}");
        }
    }

    #[test]
    fn no_schema_has_the_name_of_the_type_of_its_own_member() {
        let document: Value = serde_json::from_str(&openapi_json()).expect("JSON");
        let schemas = document["components"]["schemas"].as_object().expect("schemas");
        let type_name = |member: &str| {
            let capital = |word: &str| {
                word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1)).collect::<String>()
            };
            member.split('_').map(capital).collect::<String>()
        };
        for (name, schema) in schemas {
            let members = schema["properties"].as_object().into_iter().flatten();
            // A generator makes a type of the words of a member.
            let mut closed = members.filter(|(_, member)| member.get("enum").is_some());
            assert!(closed.all(|(member, _)| type_name(member) != *name), "{name}");
        }
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
    #[test]
    fn the_pattern_of_a_key_is_what_the_gateway_takes() {
        use actix_web::http::header::{HeaderMap, HeaderValue};

        use crate::http::headers::names;

        let document: Value = serde_json::from_str(&openapi_json()).expect("JSON");
        let parameters = document["paths"]["/records/{system}"]["post"]["parameters"].as_array().expect("parameters");
        let key = parameters.iter().find(|one| one["name"] == "Idempotency-Key").expect("a parameter");
        let pattern = jsonschema::validator_for(&key["schema"]).expect("a schema");
        let takes = |text: &str| {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_str(text).expect("a value");
            headers.insert(names::IDEMPOTENCY_KEY, value);
            crate::http::headers::parse_idempotency_key(&headers).is_ok()
        };
        let visible = || ('!'..='~').map(String::from);
        let wrapped = visible().flat_map(|one| [format!("a{one}"), format!("{one}a"), format!("\"a{one}\"")]);
        let escaped = visible().map(|one| format!("\"\\{one}\""));
        let others = ["", "\"\"", "a b", "\"a b\"", "a, b", "\"a", "ab\""].map(str::to_owned);
        let long = [255, 256].map(|length| "k".repeat(length));
        for text in visible().chain(wrapped).chain(escaped).chain(others).chain(long) {
            assert_eq!(pattern.is_valid(&Value::from(text.as_str())), takes(&text), "{text}");
        }
    }
}
