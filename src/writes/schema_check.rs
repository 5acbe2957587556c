//! The check of a write against the schema of its collection (contract 4.13). It never refuses what
//! the vendor would take: a refusal comes from a schema that was read a moment ago, and a write
//! whose schema is not available continues.

use foldhash::{HashMap, HashMapExt as _, HashSet};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::command::{Handling, WriteOp};
use super::write_task::WriteTask;
use crate::catalog::{CollectionSchema, Fit, for_check};
use crate::problem::Problem;
use crate::record::{FieldChange, FieldError, RawObject, RecordId, SchemaRule, fields_member, pointers_overlap};
use crate::system::Validation;
use crate::vendors::SchemaSource;

/// Checks what the request alone shows: the adapter's own rules, which no preference lifts, and the
/// schema.
///
/// # Errors
/// `rejected` with everything that is wrong.
pub(super) async fn check_request(task: &WriteTask<'_>) -> Result<(), Problem> {
    let op = &task.command.op;
    let Some(collection) = collection_of(op) else { return Ok(()) };
    let by_adapter = find_adapter_errors(task);
    if !task.command.rejected_values.is_empty() {
        return Err(Box::pin(combine_rejections(task, collection, by_adapter)).await);
    }
    let is_off = effective_validation(task) == Validation::Off;
    if is_off {
        task.schema.set_unchecked();
    }
    if is_off || task.system.catalog.source() == SchemaSource::None {
        return refuse_if_wrong(task, by_adapter);
    }
    let requester = task.context.requester();
    let Ok(schema) = task.system.catalog.schema_for_check(collection, requester).await else {
        mark_unchecked(task);
        return refuse_if_wrong(task, by_adapter);
    };
    let fit = fit_schema(&schema, op);
    if by_adapter.is_empty() && fit != Fit::Invalid {
        if fit == Fit::Unusual {
            task.schema.set_unusual_form();
        }
        task.schema.set_schema(schema);
        return Ok(());
    }
    Box::pin(recheck_with_fresh_schema(task, collection, by_adapter)).await
}

/// The collection whose schema a write must fit; a DELETE has no values.
fn collection_of(op: &WriteOp) -> Option<&str> {
    match op {
        WriteOp::Update { id, .. } => Some(id.collection()),
        WriteOp::Create { collection, .. } => Some(collection),
        WriteOp::Delete { .. } => None,
    }
}

/// What the vendor's protocol cannot express, or never accepts.
fn find_adapter_errors(task: &WriteTask<'_>) -> Vec<FieldError> {
    let adapter = &task.system.adapter;
    match &task.command.op {
        WriteOp::Create { fields, .. } => adapter.validate_create(fields),
        op => adapter.validate_patch(&given_members(op)),
    }
}

/// The members of `fields` that the request gives, as far as it alone shows them.
fn given_members(op: &WriteOp) -> RawObject {
    match op {
        WriteOp::Update { patch, .. } => match patch.merge_members() {
            Some(members) => members.clone(),
            None => RawObject::from(&patch.replaced_members()),
        },
        WriteOp::Create { fields, .. } => RawObject::from(fields),
        WriteOp::Delete { .. } => RawObject::default(),
    }
}

/// How this write is checked.
fn effective_validation(task: &WriteTask<'_>) -> Validation {
    match (task.system.policy.validate, task.command.prefer.handling) {
        (Validation::Off, _) => Validation::Off,
        (Validation::Refuse, Some(Handling::Lenient)) => Validation::Warn,
        (Validation::Warn, Some(Handling::Strict)) => Validation::Refuse,
        (configured, _) => configured,
    }
}

/// The problem of a write with rejected values: these, and what the adapter and the schema find
/// elsewhere.
async fn combine_rejections(task: &WriteTask<'_>, collection: &str, by_adapter: Vec<FieldError>) -> Problem {
    let mut errors = task.command.rejected_values.clone();
    let rejected: Vec<String> = errors.iter().filter_map(record_pointer).collect();
    let by_schema = find_beside_rejected(task, collection, &by_adapter).await.unwrap_or_default();
    let mut found = merge_in_member_order(&task.command.op, by_schema, by_adapter);
    found.retain(|error| rejected.iter().all(|pointer| !pointers_overlap(pointer, &error.pointer)));
    count_broken_rules(task, &found);
    errors.extend(found);
    task.system.rejected_problem(errors)
}

/// What the schema finds in a write with rejected values; `None` if nothing is refused by it.
async fn find_beside_rejected(
    task: &WriteTask<'_>,
    collection: &str,
    by_adapter: &[FieldError],
) -> Option<Vec<FieldError>> {
    let op = &task.command.op;
    let has_values = matches!(op, WriteOp::Create { .. }) || !given_members(op).is_empty();
    let catalog = &task.system.catalog;
    if !has_values || effective_validation(task) != Validation::Refuse || catalog.source() == SchemaSource::None {
        return None;
    }
    let schema = catalog.schema_for_check(collection, task.context.requester()).await.ok()?;
    if find_schema_errors(&schema, &task.command.op).is_empty() {
        return None;
    }
    find_with_fresh_schema(task, collection, by_adapter).await
}

/// The pointer into the record of an error in the words of a model.
fn record_pointer(error: &FieldError) -> Option<String> {
    let vendor_pointer = error.vendor_pointer.as_deref().unwrap_or(&error.pointer);
    Some(["/fields", vendor_pointer.strip_prefix("/vendor")?].concat())
}

/// The same check with the schema of this moment. Only that one refuses a write.
async fn recheck_with_fresh_schema(
    task: &WriteTask<'_>,
    collection: &str,
    by_adapter: Vec<FieldError>,
) -> Result<(), Problem> {
    let Some(errors) = find_with_fresh_schema(task, collection, &by_adapter).await else {
        mark_unchecked(task);
        return refuse_if_wrong(task, by_adapter);
    };
    if by_adapter.is_empty() {
        return refuse_or_warn(task, errors);
    }
    refuse_if_wrong(task, merge_in_member_order(&task.command.op, errors, by_adapter))
}

/// What the schema of this moment finds; `None` if it is not available. What the adapter finds is
/// refused in any case.
async fn find_with_fresh_schema(
    task: &WriteTask<'_>,
    collection: &str,
    by_adapter: &[FieldError],
) -> Option<Vec<FieldError>> {
    let op = &task.command.op;
    let schema = task.system.catalog.schema_for_refusal(collection, task.context.requester()).await.ok()?;
    let mut errors = find_schema_errors(&schema, op);
    if has_unusual_form(&schema, op) {
        task.schema.set_unusual_form();
    }
    task.schema.set_schema(schema);
    let is_refused = |error: &FieldError| by_adapter.iter().any(|refused| refused.pointer == error.pointer);
    if let WriteOp::Update { id, .. } = op
        && !errors.iter().all(is_refused)
    {
        drop_repeated_values(task, id, &mut errors).await;
    }
    Some(errors)
}

/// How the values fit. The response to a create has the record that it made, so that no form of
/// its values is unusual.
fn fit_schema(schema: &CollectionSchema, op: &WriteOp) -> Fit {
    match op {
        WriteOp::Create { fields, .. } if schema.check_create(fields).is_empty() => Fit::Valid,
        WriteOp::Create { .. } => Fit::Invalid,
        op => schema.fit(&given_members(op)),
    }
}

fn find_schema_errors(schema: &CollectionSchema, op: &WriteOp) -> Vec<FieldError> {
    match op {
        WriteOp::Create { fields, .. } => schema.check_create(fields),
        op => schema.check_patch(&given_members(op)),
    }
}

/// Whether a value fits in an unusual form; see [`fit_schema`].
fn has_unusual_form(schema: &CollectionSchema, op: &WriteOp) -> bool {
    !matches!(op, WriteOp::Create { .. }) && schema.has_unusual_form(&given_members(op))
}

/// A patch may repeat current values, even invalid ones: a caller may send a whole record back with
/// one change.
async fn drop_repeated_values(task: &WriteTask<'_>, id: &RecordId, errors: &mut Vec<FieldError>) {
    let members = given_members(&task.command.op).to_map();
    let Some(before) = state_before(task, id, errors).await else { return };
    errors.retain(|error| {
        let repeated = fields_member(&error.pointer).and_then(|name| members.get_key_value(&name));
        repeated.is_none_or(|(name, value)| before.get(name) != Some(value))
    });
}

/// The `fields` that the patch applies to: as this process has shown them or, if a value decides,
/// as the vendor shows them now.
async fn state_before(task: &WriteTask<'_>, id: &RecordId, errors: &[FieldError]) -> Option<Map<String, Value>> {
    let system = task.system;
    let precondition = task.command.precondition.as_ref();
    if let Some((tag, _)) = precondition.and_then(|given| given.single_version(&system.name, id))
        && let Some(state) = task.services.recent_states.state(&tag.to_header()).await
    {
        return Some(state);
    }
    if errors.iter().all(|error| error.rule == Some(SchemaRule::Unknown)) {
        return None;
    }
    task.session.set_deadline(task.context.deadline);
    system.adapter.read(&task.session, id).await.ok().map(|record| record.fields.to_map())
}

/// The errors of both, in the order of the members; at most one of a pointer.
fn merge_in_member_order(op: &WriteOp, mut errors: Vec<FieldError>, by_adapter: Vec<FieldError>) -> Vec<FieldError> {
    let pointers: HashSet<String> = errors.iter().map(|error| error.pointer.clone()).collect();
    errors.extend(by_adapter.into_iter().filter(|error| !pointers.contains(&error.pointer)));
    let given = given_members(op);
    let positions: HashMap<&str, usize> = given.names().zip(0..).collect();
    let position = |error: &FieldError| {
        fields_member(&error.pointer).and_then(|name| positions.get(name.as_str()).copied()).unwrap_or(usize::MAX)
    };
    errors.sort_by_cached_key(position);
    errors
}

/// Checks what only the record shows: the members as the patch leaves them.
///
/// # Errors
/// `rejected` with everything that is wrong.
pub(super) async fn check_changes(
    task: &WriteTask<'_>,
    id: &RecordId,
    changes: &[FieldChange],
    after: &Map<String, Value>,
) -> Result<(), Problem> {
    let mut by_member: HashMap<&str, Vec<&FieldChange>> = HashMap::new();
    for change in changes {
        by_member.entry(&change.member).or_default().push(change);
    }
    let value = |change: &FieldChange| (change.member.clone(), after.get(&change.member).cloned().unwrap_or_default());
    let members: Map<String, Value> = changes.iter().map(value).collect();
    check_against_schema(task, id, &RawObject::from(&members), |schema| {
        let mut errors = schema.check_members(members.clone());
        errors.retain(|error| {
            let Some(member) = fields_member(&error.pointer) else { return true };
            let of_member = by_member.get(member.as_str());
            of_member.is_some_and(|changes| changes.iter().any(|one| pointers_overlap(&error.pointer, &one.pointer)))
        });
        errors
    })
    .await
}

/// Checks members whose values follow from a state of the record, which the request alone does not
/// show.
///
/// # Errors
/// `rejected` with everything that is wrong.
pub(super) async fn check_members(task: &WriteTask<'_>, id: &RecordId, members: &RawObject) -> Result<(), Problem> {
    check_against_schema(task, id, members, |schema| schema.check_patch(members)).await
}

async fn check_against_schema(
    task: &WriteTask<'_>,
    id: &RecordId,
    members: &RawObject,
    find: impl Fn(&CollectionSchema) -> Vec<FieldError>,
) -> Result<(), Problem> {
    let Some(schema) = task.schema.schema().filter(|_| effective_validation(task) != Validation::Off) else {
        return Ok(());
    };
    if schema.has_unusual_form(members) {
        task.schema.set_unusual_form();
    }
    if find(schema).is_empty() {
        return Ok(());
    }
    if let Ok(schema) = task.system.catalog.schema_for_refusal(id.collection(), task.context.requester()).await {
        refuse_or_warn(task, find(&schema))
    } else {
        mark_unchecked(task);
        Ok(())
    }
}

fn mark_unchecked(task: &WriteTask<'_>) {
    task.services.metrics.schema_unavailable(task.system.index);
    task.schema.set_unchecked();
}

/// Refuses the write, or warns of what is wrong with it.
fn refuse_or_warn(task: &WriteTask<'_>, errors: Vec<FieldError>) -> Result<(), Problem> {
    if effective_validation(task) == Validation::Refuse {
        return refuse_if_wrong(task, errors);
    }
    count_broken_rules(task, &errors);
    task.schema.warn(errors);
    Ok(())
}

/// Refuses a write that has errors.
///
/// # Errors
/// `rejected` with all of them.
fn refuse_if_wrong(task: &WriteTask<'_>, errors: Vec<FieldError>) -> Result<(), Problem> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(count_and_reject(task, errors))
}

/// `rejected` for a write that is not sent, counted by the rules that it breaks.
pub(super) fn count_and_reject(task: &WriteTask<'_>, errors: Vec<FieldError>) -> Problem {
    count_broken_rules(task, &errors);
    task.system.rejected_problem(errors)
}

fn count_broken_rules(task: &WriteTask<'_>, errors: &[FieldError]) {
    for rule in errors.iter().filter_map(|error| error.rule) {
        task.services.metrics.schema_refusal(task.system.index, rule);
    }
}

/// How long this write waits for what helps to check it.
pub(super) fn lookup_deadline(task: &WriteTask<'_>) -> Instant {
    for_check(task.context.requester()).deadline
}
