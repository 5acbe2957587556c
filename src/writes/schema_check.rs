//! The check of a write against the schema of its collection (contract 4.13). It never refuses what
//! the vendor would take: a refusal comes from a schema that was read a moment ago, and a write
//! whose schema is not available continues.

use foldhash::{HashMap, HashMapExt as _};
use serde_json::{Map, Value};

use super::command::{Handling, WriteOp};
use super::write_task::WriteTask;
use crate::catalog::CollectionSchema;
use crate::problem::Problem;
use crate::record::{FieldChange, FieldError, Patch, RawObject, RecordId, SchemaRule, fields_member, pointers_overlap};
use crate::system::Validation;
use crate::vendors::SchemaSource;

/// How this write is checked.
fn effective_validation(task: &WriteTask<'_>) -> Validation {
    match (task.system.policy.validate, task.command.prefer.handling) {
        (Validation::Off, _) => Validation::Off,
        (Validation::Refuse, Some(Handling::Lenient)) => Validation::Warn,
        (Validation::Warn, Some(Handling::Strict)) => Validation::Refuse,
        (configured, _) => configured,
    }
}

/// Checks what the request alone shows.
///
/// # Errors
/// `rejected` with everything that is wrong.
pub(super) async fn check_request(task: &WriteTask<'_>) -> Result<(), Problem> {
    let Some(collection) = collection_of(&task.command.op) else { return Ok(()) };
    if effective_validation(task) == Validation::Off {
        task.schema.set_unchecked();
        return Ok(());
    }
    if task.system.catalog.source() == SchemaSource::None {
        return Ok(());
    }
    let requester = task.context.requester();
    let Ok(schema) = task.system.catalog.schema_for_check(collection, requester).await else {
        mark_unchecked(task);
        return Ok(());
    };
    if find_errors(&schema, &task.command.op).is_empty() {
        task.schema.set_schema(schema);
        return Ok(());
    }
    Box::pin(check_again(task, collection)).await
}

/// The collection whose schema a write must fit; a DELETE has no values.
fn collection_of(op: &WriteOp) -> Option<&str> {
    match op {
        WriteOp::Update { id, .. } => Some(id.collection()),
        WriteOp::Create { collection, .. } => Some(collection),
        WriteOp::Delete { .. } => None,
    }
}

fn mark_unchecked(task: &WriteTask<'_>) {
    task.services.metrics.schema_unavailable(task.system.index);
    task.schema.set_unchecked();
}

/// The same check with the schema of this moment.
async fn check_again(task: &WriteTask<'_>, collection: &str) -> Result<(), Problem> {
    let requester = task.context.requester();
    let Ok(schema) = task.system.catalog.schema_for_refusal(collection, requester).await else {
        mark_unchecked(task);
        return Ok(());
    };
    let mut errors = find_errors(&schema, &task.command.op);
    task.schema.set_schema(schema);
    if let WriteOp::Update { id, patch } = &task.command.op
        && !errors.is_empty()
    {
        drop_repeated_values(task, id, patch, &mut errors).await;
    }
    report(task, errors)
}

fn find_errors(schema: &CollectionSchema, op: &WriteOp) -> Vec<FieldError> {
    match op {
        WriteOp::Update { patch, .. } => patch
            .merge_members()
            .map_or_else(|| schema.check_members(patch.replaced_members()), |members| schema.check_patch(members)),
        WriteOp::Create { fields, .. } => schema.check_create(fields),
        WriteOp::Delete { .. } => Vec::new(),
    }
}

/// A patch may repeat current values, even invalid ones: a caller may send a whole record back with
/// one change.
async fn drop_repeated_values(task: &WriteTask<'_>, id: &RecordId, patch: &Patch, errors: &mut Vec<FieldError>) {
    let members = patch.merge_members().map_or_else(|| patch.replaced_members(), RawObject::to_map);
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
    check_against_schema(task, id, |schema| {
        let value =
            |change: &FieldChange| (change.member.clone(), after.get(&change.member).cloned().unwrap_or_default());
        let mut errors = schema.check_members(changes.iter().map(value).collect());
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
    check_against_schema(task, id, |schema| schema.check_patch(members)).await
}

async fn check_against_schema(
    task: &WriteTask<'_>,
    id: &RecordId,
    find: impl Fn(&CollectionSchema) -> Vec<FieldError>,
) -> Result<(), Problem> {
    let Some(schema) = task.schema.schema().filter(|_| effective_validation(task) != Validation::Off) else {
        return Ok(());
    };
    if find(schema).is_empty() {
        return Ok(());
    }
    if let Ok(schema) = task.system.catalog.schema_for_refusal(id.collection(), task.context.requester()).await {
        report(task, find(&schema))
    } else {
        mark_unchecked(task);
        Ok(())
    }
}

/// Refuses the write, or warns of what is wrong with it.
fn report(task: &WriteTask<'_>, errors: Vec<FieldError>) -> Result<(), Problem> {
    for rule in errors.iter().filter_map(|error| error.rule) {
        task.services.metrics.schema_refusal(task.system.index, rule);
    }
    if errors.is_empty() {
        return Ok(());
    }
    if effective_validation(task) == Validation::Refuse {
        return Err(task.system.rejected_problem(errors));
    }
    task.schema.warn(errors);
    Ok(())
}
