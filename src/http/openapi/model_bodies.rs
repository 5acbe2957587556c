//! The bodies of models as the document shows them; `model_document` writes them.
#![expect(dead_code, reason = "described, never constructed")]

use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// A record in the words of a model. `fields` and `vendor` together are the record.
#[derive(ToSchema)]
pub(crate) struct ModelDocument {
    /// The model's name.
    #[schema(example = "contact")]
    model: String,
    /// The configured system's name.
    #[schema(example = "crm")]
    system: String,
    /// The full id.
    id: String,
    /// The strong ETag with its quotes, of the record's version and the map.
    #[schema(required = true)]
    etag: Option<String>,
    /// The fields that the system keeps; null where it has no value. A value that the map cannot
    /// read leaves its field out.
    #[schema(value_type = Object)]
    fields: Value,
    /// What no field shows, under the vendor's names.
    #[schema(value_type = Option<Object>, nullable = false)]
    vendor: Option<Value>,
    /// JSON Pointers of what cannot be patched.
    read_only: Vec<String>,
    /// What the caller would otherwise not learn.
    #[schema(required = false)]
    warnings: Vec<ModelWarning>,
    /// `/operations/{id}` of the queued or unresolved write that runs on the record.
    #[schema(nullable = false)]
    pending_operation: Option<String>,
    /// The vendor's list could not carry the whole record.
    #[schema(required = false)]
    partial: bool,
}

/// A warning in the words of a model.
#[derive(ToSchema)]
pub(crate) struct ModelWarning {
    /// The kind, such as `unmapped-value`.
    #[schema(example = "unmapped-value")]
    code: String,
    /// JSON Pointer into the document.
    #[schema(example = "/fields/tier")]
    pointer: String,
    /// JSON Pointer of the vendor's place, where a field shows it.
    #[schema(nullable = false, example = "/vendor/Status")]
    vendor_pointer: Option<String>,
    /// What happened, in a sentence.
    detail: String,
}

/// A page of documents.
#[derive(ToSchema)]
pub(crate) struct ModelDocumentPage {
    /// The documents.
    items: Vec<ModelDocument>,
    /// The cursor of the next page; null on the last.
    #[schema(required = true)]
    next: Option<String>,
}

/// A new record in the words of a model.
#[derive(ToSchema)]
pub(crate) struct ModelDraft {
    /// Where to create it, if the model does not say.
    #[schema(nullable = false)]
    collection: Option<String>,
    /// The model's fields.
    #[schema(value_type = Option<Object>, nullable = false)]
    fields: Option<Value>,
    /// What no field shows, under the vendor's names.
    #[schema(value_type = Option<Object>, nullable = false)]
    vendor: Option<Value>,
}

/// A merge patch (RFC 7396) of a model's document: only members of `fields` and `vendor` can
/// change; null unsets.
#[derive(ToSchema)]
pub(crate) struct ModelMergePatch {
    /// The fields that change.
    #[schema(value_type = Option<Object>, nullable = false)]
    fields: Option<Value>,
    /// What changes of the rest, under the vendor's names.
    #[schema(value_type = Option<Object>, nullable = false)]
    vendor: Option<Value>,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct ModelPath {
    /// The name of the model.
    #[param(example = "contact", pattern = "^[a-z][a-z0-9-]*$")]
    model: String,
}

/// How much of the record a document shows in addition to its fields.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub(crate) enum VendorPart {
    /// The whole record.
    All,
    /// What no field shows.
    Rest,
    /// Nothing.
    None,
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ModelListParams {
    /// The most items of the page; a page may be shorter, even empty, and have a `next`.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
    /// `next` of the previous page of the same query.
    #[param(min_length = 1)]
    cursor: Option<String>,
    /// How much of the record a document shows in addition to its fields; `rest` if it is left out.
    vendor: Option<VendorPart>,
}
