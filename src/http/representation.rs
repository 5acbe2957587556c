//! The representation of a record that a path names: the record itself, or a model's document of
//! it (contract 4.12). Handlers and the write pipeline are the same for both.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::context::RequestContext;
use super::error::HandlerResult;
use super::headers::BodyType;
use super::model_document::{self, VendorPart};
use super::model_translation;
use super::query::{FILTER, QueryParams};
use super::state::ApiState;
use super::{response, write_request};
use crate::metrics::Metrics;
use crate::models::{ModelPatch, SystemMap, document_etag, model_etag};
use crate::problem::{Problem, ProblemKind};
use crate::record::{
    FieldError, JsonObjectWriter, ListCondition, Patch, PatchError, RecordId, percent_encode_id, sha256,
};
use crate::system::{RecordPage, RecordView, System};
use crate::writes::{Preview, SuccessBody, WriteCommand, WriteSuccess};

/// How records are shown and changed.
pub(super) enum Representation {
    /// As records.
    Record,
    /// As documents of the model of this map.
    Model(Arc<SystemMap>),
}

/// A record to be made, from the body of its request.
pub(super) struct ParsedCreate {
    pub(super) collection: String,
    pub(super) fields: Map<String, Value>,
    /// The errors of values that cannot be among the fields.
    pub(super) rejected_values: Vec<FieldError>,
    pub(super) given: GivenFields,
}

/// The entries that the caller gave a value for; `None` outside models. An error of a parent object
/// is reported for each of them.
#[derive(Default)]
pub(super) struct GivenFields(Option<Vec<usize>>);

impl Representation {
    /// The representation that the path of a request names.
    ///
    /// # Errors
    /// 404 for a model that is not configured, or that the system does not keep.
    pub(super) fn from_path(context: &RequestContext) -> Result<Self, Problem> {
        let name = context.path_param("model")?;
        if name.is_empty() {
            return Ok(Self::Record);
        }
        // A model that is not configured comes before a system that is not.
        context.api().models.find(&name)?;
        Self::of_model(context.api(), &name, context.system()?)
    }

    /// The representation of a model's name, which is empty for records.
    ///
    /// # Errors
    /// As [`from_path`](Self::from_path).
    pub(super) fn of_model(api: &ApiState, name: &str, system: &System) -> Result<Self, Problem> {
        if name.is_empty() {
            return Ok(Self::Record);
        }
        let model = api.models.find(name)?;
        if let Some(map) = model.map_of(system.name.as_str()) {
            Ok(Self::Model(Arc::clone(map)))
        } else {
            let detail = format!("{} does not keep the model {}", system.name, model.name);
            Err(ProblemKind::NotFound.with_detail(detail))
        }
    }

    fn map(&self) -> Option<&Arc<SystemMap>> {
        match self {
            Self::Record => None,
            Self::Model(map) => Some(map),
        }
    }

    /// What operations and the ledger call the model: `customer@fingerprint`.
    pub(super) fn model(&self) -> Option<Arc<str>> {
        self.map().map(|map| Arc::clone(&map.label))
    }

    /// A record's id from the path.
    ///
    /// # Errors
    /// 404, also for a record of another collection than the model's.
    pub(super) fn record_id(&self, system: &System, raw: &str) -> Result<RecordId, Problem> {
        let Some(map) = self.map() else { return system.record_id(raw) };
        let Some(collection) = &map.collection else { return system.record_id(raw) };
        let full = if raw.contains(':') { raw.to_owned() } else { format!("{collection}:{raw}") };
        let id = system.record_id(&full)?;
        if id.collection() == collection {
            return Ok(id);
        }
        let detail =
            format!("The records of {} in {} are those of the collection {collection}.", map.model, map.system);
        Err(ProblemKind::RecordNotFound.with_detail(detail).system(system.name.as_str()))
    }

    /// The collection of a list or a create.
    ///
    /// # Errors
    /// 422, also for another collection than the model's.
    pub(super) fn collection(&self, system: &System, raw: Option<&str>) -> Result<String, Problem> {
        match self.map().and_then(|map| map.collection.as_deref()) {
            None => system.collection(raw),
            Some(own) => {
                let collection = system.collection(raw.or(Some(own)))?;
                if collection == own {
                    return Ok(collection);
                }
                let detail = format!("The model keeps the collection {own}; leave the collection out.");
                let problem = ProblemKind::Rejected.with_detail(detail.clone()).system(system.name.as_str());
                Err(problem.errors(vec![FieldError::in_model("/collection", detail)]))
            }
        }
    }

    /// The path of a record, or of a system's records.
    pub(super) fn path(&self, system: &str, id: Option<&str>) -> String {
        let mut path = match self.map() {
            None => format!("/records/{}", percent_encode_id(system)),
            Some(map) => format!("/models/{}/{}", map.model, percent_encode_id(system)),
        };
        if let Some(id) = id {
            path.push('/');
            path.push_str(&percent_encode_id(id).to_string());
        }
        path
    }

    /// Parses a patch in the words of the representation; see [`write_request::parse_patch`].
    ///
    /// # Errors
    /// 400.
    pub(super) fn parse_patch(
        &self,
        id: &RecordId,
        body_type: BodyType,
        body: &Bytes,
    ) -> Result<Result<Patch, PatchError>, Problem> {
        let Some(map) = self.map() else { return write_request::parse_patch(body_type, body) };
        let patch = match body_type {
            BodyType::JsonPatch => ModelPatch::parse_json_patch(map, id, body),
            BodyType::MergePatch | BodyType::Json => ModelPatch::parse_merge_patch(map, id, body),
        };
        write_request::refuse_malformed(patch.map(|patch| Patch::Mapped(Arc::new(patch))))
    }

    /// A new record from its body.
    ///
    /// # Errors
    /// 422.
    pub(super) fn parse_create(&self, value: Value, system: &System) -> Result<ParsedCreate, Problem> {
        let name = system.name.as_str();
        let Self::Model(map) = self else {
            let (collection, fields) = write_request::parse_new_record(value, name)?;
            let collection = system.collection(collection.as_deref())?;
            return Ok(ParsedCreate { collection, fields, rejected_values: Vec::new(), given: GivenFields::default() });
        };
        let Value::Object(mut members) = value else { return Err(write_request::new_record_is_no_object()) };
        let vendor = members.shift_remove("vendor");
        if members.get("model").and_then(Value::as_str) == Some(&*map.model) {
            members.shift_remove("model");
        }
        members.entry("fields".to_owned()).or_insert_with(|| Value::Object(Map::new()));
        let (collection, fields) = write_request::parse_new_record(Value::Object(members), name)?;
        let collection = self.collection(system, collection.as_deref())?;
        let record = map.encode_new_record(&fields, vendor.as_ref());
        let given = GivenFields(Some(record.given));
        Ok(ParsedCreate { collection, fields: record.fields, rejected_values: record.errors, given })
    }

    /// Binds a write in this representation to the record: its tags become the record's, and it is
    /// another request than the same at `/records`.
    pub(super) fn bind(&self, command: &mut WriteCommand) {
        let Some(map) = self.map() else { return };
        if let Some(key) = &mut command.idempotency {
            key.fingerprint = sha256([&key.fingerprint[..], b"/models/", map.model.as_bytes()]);
        }
        command.mapping = self.model();
        let to_record_tags = |given| model_translation::to_record_tags(map, given);
        command.precondition = command.precondition.take().map(to_record_tags);
        command.if_none_match = command.if_none_match.take().map(to_record_tags);
    }

    /// The tag of a record in this representation.
    pub(super) fn etag_of(&self, record: &RecordView) -> Option<String> {
        match self.map() {
            None => record.etag.clone(),
            Some(map) => document_etag(map, record.etag.as_deref()?),
        }
    }

    /// The tags of a write's response in this representation.
    pub(super) fn translate_success(&self, context: &RequestContext, success: &mut WriteSuccess) {
        let Some(map) = self.map() else { return };
        let Some(etag) = success.etag.take() else { return };
        let id = match &success.body {
            SuccessBody::Record(record) | SuccessBody::Created(record) => to_record_id(&record.id),
            SuccessBody::NoContent | SuccessBody::Accepted => self.id_of(context),
        };
        success.etag = id.and_then(|id| model_etag(map, &id, &etag));
    }

    /// The record that the path names.
    fn id_of(&self, context: &RequestContext) -> Option<RecordId> {
        self.record_id(context.system().ok()?, &context.path_param("id").ok()?).ok()
    }

    /// The query's parameters of a record.
    pub(super) fn record_params(&self) -> &'static [&'static str] {
        if self.map().is_some() { &["vendor"] } else { &[] }
    }

    /// The query's parameters of a list.
    pub(super) fn list_params(&self) -> &'static [&'static str] {
        if self.map().is_some() {
            &["collection", "limit", "cursor", FILTER, "vendor"]
        } else {
            &["collection", "limit", "cursor", FILTER]
        }
    }

    /// The conditions of a list as conditions on the record.
    ///
    /// # Errors
    /// 422, for a field of the model that lists cannot be filtered by.
    pub(super) fn conditions(&self, system: &System, given: &[(&str, &str)]) -> Result<Vec<ListCondition>, Problem> {
        match self.map() {
            None => Ok(given.iter().map(|(member, text)| ListCondition::new(member, text)).collect()),
            Some(map) => map.translate_conditions(given).map_err(|errors| system.rejected_problem(errors)),
        }
    }

    /// `Link` from a record to the schema of its fields, where there is one.
    pub(super) fn describedby_link(&self, system: &System, id: &str) -> Option<String> {
        match self.map() {
            None => response::describedby_link(system, id),
            Some(map) => Some(format!("<{}>; rel=\"describedby\"", schema_path(&map.model))),
        }
    }

    /// The part of the record that no field shows, as the query selects it.
    ///
    /// # Errors
    /// 400.
    pub(super) fn vendor_part(query: &QueryParams) -> Result<VendorPart, Problem> {
        Ok(query.parse_word("vendor", VendorPart::WORDS, VendorPart::parse)?.unwrap_or_default())
    }

    /// The JSON text of a record, whose tag in this representation is `etag`.
    pub(super) fn record_json(
        &self,
        record: &RecordView,
        etag: Option<&str>,
        part: VendorPart,
        metrics: &Metrics,
    ) -> String {
        match self.map() {
            None => response::record_json(record),
            Some(map) => model_document::write(String::with_capacity(1024), map, record, etag, part, metrics),
        }
    }

    /// The JSON text of a page.
    pub(super) fn page_json(&self, page: &RecordPage, part: VendorPart, metrics: &Metrics) -> String {
        if self.map().is_none() {
            return response::page_json(page);
        }
        let json = |record| self.record_json(record, self.etag_of(record).as_deref(), part, metrics);
        let items: Vec<String> = page.items.iter().map(json).collect();
        let size = items.iter().map(|item| item.len() + 1).sum::<usize>() + 128;
        JsonObjectWriter::with_capacity(size).raw_array("items", &items).serialized("next", &page.next).finish()
    }

    /// Translates a preview into the words of the representation.
    pub(super) fn translate_preview(&self, preview: &mut Preview) {
        let Some(map) = self.map() else { return };
        let id = preview.record.as_deref().and_then(to_record_id);
        model_translation::translate_preview(map, id.as_ref(), preview);
    }

    /// The result of a handler, with its error in the words of the representation.
    pub(super) fn translate_error(&self, context: &RequestContext, result: HandlerResult) -> HandlerResult {
        self.translate_create_error(context, &GivenFields::default(), result)
    }

    /// The same for the result of a create.
    pub(super) fn translate_create_error(
        &self,
        context: &RequestContext,
        given: &GivenFields,
        result: HandlerResult,
    ) -> HandlerResult {
        result.map_err(|mut error| {
            self.translate_create_problem(context, given, &mut error.problem);
            error
        })
    }

    /// A problem in the words of the representation.
    pub(super) fn translate_problem(&self, context: &RequestContext, problem: &mut Problem) {
        self.translate_create_problem(context, &GivenFields::default(), problem);
    }

    fn translate_create_problem(&self, context: &RequestContext, given: &GivenFields, problem: &mut Problem) {
        let Some(map) = self.map() else { return };
        problem.translate_errors(|error| map.translate_error(error, given.0.as_deref()));
        model_translation::translate_problem(map, problem, self.id_of(context).as_ref(), context.headers());
    }
}

/// The id of a record that callers see.
fn to_record_id(id: &str) -> Option<RecordId> {
    let (collection, key) = id.rsplit_once(':')?;
    Some(RecordId::new(collection, key))
}

/// The pointer to the schema of a model.
pub(super) fn schema_path(model: &str) -> String {
    format!("/models/{model}/schema")
}
