//! A write that stops at any of its await points, because its process is killed or its task is
//! aborted there: the next process brings ledger and vendor into agreement, and no write happens
//! twice.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::begin::journal_intent;
use super::command::{Prefer, WriteCommand, WriteOp};
use super::intent::{ExpectedState, WriteIntent};
use super::pipeline;
use super::plan::Planned;
use super::probe::OutcomeProbe;
use super::reconciler::run_reconciler;
use super::resolve::Resolution;
use super::send_gate::SendGate;
use super::write_services::WriteServices;
use super::write_task::WriteTask;
use crate::catalog::Catalog;
use crate::journal::tests::samples::{intent, verdict};
use crate::journal::{Durability, Intent, Journal, JournalSettings, OperationQuery, Verdict, VerdictResult};
use crate::metrics::Metrics;
use crate::record::{
    CallerName, CallerShare, Operation, OperationId, OperationState, Patch, Precondition, RecordId, RequestId, Secret,
    SystemName,
};
use crate::sandbox::{CallKind, InjectedFault, matrix42};
use crate::system::{CallerContext, Guarantee, System, SystemPolicy, VendorSession};
use crate::transport::trace::TraceContext;
use crate::transport::{Priority, StackSettings, TransportStack};
use crate::vendors::{Settings, find_vendor};

const CLASS: &str = matrix42::CATEGORY_CLASS;
const KEY: &str = matrix42::SOFTWARE_ID;
/// How long a caller waits.
const DEADLINE: Duration = Duration::from_secs(30);

/// How a write stops.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// Its task is dropped, as by a panic or a stopping worker.
    Abort,
    /// Nothing of it runs any more, no destructor either, as by `kill -9`.
    Kill,
}

fn build_system(vendor: &matrix42::Vendor) -> (Arc<System>, Arc<Metrics>) {
    let factory = find_vendor("matrix42").expect("a vendor");
    let adapter = (factory.build)(&Settings::from([("api_token", Secret::new(matrix42::API_TOKEN))])).expect("built");
    let name = SystemName::parse("itsm").expect("a name");
    let metrics = Metrics::new(std::slice::from_ref(&name)).expect("metrics");
    let settings = StackSettings { retries: 0, ..StackSettings::for_base_url(vendor.base_url()) };
    let transport = TransportStack::new(&name, Arc::clone(&adapter) as _, &settings, None, &metrics).expect("a stack");
    let policy = SystemPolicy {
        timeout: Duration::from_secs(20),
        settle_timeout: Duration::from_millis(1500),
        completion_poll: Duration::from_millis(10),
        ..SystemPolicy::default()
    };
    let index = metrics.index(&name).expect("an index");
    let tenant_fingerprint = "t".into();
    let transport = Arc::new(transport);
    let catalog = Catalog::new("/systems/itsm", Arc::clone(&adapter), Arc::clone(&transport), Duration::from_mins(10));
    (
        Arc::new(System { name, index, tenant_fingerprint, adapter, transport, catalog, key_expires: None, policy }),
        metrics,
    )
}

async fn open_store(file: &Path) -> Journal {
    let settings = JournalSettings {
        url: format!("sqlite:{}", file.display()),
        durability: Durability::Commit,
        ..JournalSettings::default()
    };
    Journal::open(settings, Arc::new(())).await.expect("a store")
}

fn command(op: WriteOp) -> WriteCommand {
    WriteCommand {
        rejected_values: Vec::new(),
        precondition: op.record().map(|_| Precondition::Exists),
        op,
        if_none_match: None,
        prefer: Prefer::default(),
        accept_loss: Vec::new(),
        require_native: false,
        mapping: None,
        if_plan: None,
        idempotency: None,
        replays_only: false,
    }
}

fn context() -> CallerContext {
    CallerContext {
        caller: CallerName("caller".into()),
        request_id: RequestId("request".into()),
        batch_item: None,
        slot: None,
        trace: TraceContext::from_headers(&[], &[]).into(),
        received_at: Instant::now(),
        deadline: Instant::now() + DEADLINE,
        priority: Priority::single(CallerShare::default()),
    }
}

/// Polls a future until it has waited `times` times; whether it has ended before.
async fn poll_times(mut future: Pin<&mut (dyn Future<Output = ()> + '_)>, times: usize) -> bool {
    let mut waits = 0;
    std::future::poll_fn(move |context| match future.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(true),
        Poll::Pending if waits == times => Poll::Ready(false),
        Poll::Pending => {
            waits += 1;
            Poll::Pending
        }
    })
    .await
}

#[actix_web::test]
async fn a_write_that_a_person_ended_may_not_be_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open_store(&folder.path().join("store.db")).await;
    let (system, metrics) = build_system(&matrix42::Vendor::start().expect("a vendor"));
    let (state, _queue) = WriteServices::new(vec![system], journal.clone(), metrics);
    let (write, unknown) = (intent("A:1"), OperationId::new());
    assert!(state.permission_to_send(&write.operation).is_granted().await, "its intent is being stored");
    assert!(!state.permission_to_resend(&unknown).is_granted().await);
    journal.begin(write.clone()).await.expect("begun");
    let permission = state.permission_to_resend(&write.operation);
    assert!(permission.is_granted().await);
    let verdict = Verdict { min_age: Duration::ZERO, ..verdict(&write.operation, OperationState::NotApplied) };
    assert_eq!(journal.record_verdict(verdict).await, Ok(VerdictResult::Recorded));
    assert!(!permission.is_granted().await);
    journal.close(Duration::from_secs(10)).await;
}

/// Runs a write until its `times`-th await point, and lets the next process end it. Whether it
/// ended before, and the operations.
async fn stop_and_recover(vendor: &matrix42::Vendor, op: WriteOp, stop: Stop, times: usize) -> (bool, Vec<Operation>) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("store.db");
    let (system, metrics) = build_system(vendor);
    let has_ended = {
        let journal = open_store(&file).await;
        let (state, _queue) = WriteServices::new(vec![Arc::clone(&system)], journal.clone(), Arc::clone(&metrics));
        let (responder, _response) = oneshot::channel();
        let (command, context, gate) = (command(op), context(), SendGate::default());
        let mut write = Box::pin(pipeline::run(&state, &system, &command, &context, responder, &gate));
        let has_ended = poll_times(write.as_mut(), times).await;
        match stop {
            Stop::Abort => drop(write),
            Stop::Kill => std::mem::forget(write),
        }
        journal.close(Duration::from_secs(10)).await;
        has_ended
    };
    let journal = open_store(&file).await;
    let (state, queue) = WriteServices::new(vec![system], journal.clone(), metrics);
    let reconciler = actix_web::rt::spawn(async move { run_reconciler(&state, queue).await });
    let operations = wait_until_all_ended(&journal).await;
    reconciler.abort();
    journal.close(Duration::from_secs(10)).await;
    (has_ended, operations)
}

async fn wait_until_all_ended(journal: &Journal) -> Vec<Operation> {
    let query = OperationQuery { systems: vec!["itsm".to_owned()], limit: 10, ..OperationQuery::default() };
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let operations = journal.operations(query.clone()).await.expect("operations").items;
        if operations.iter().all(|operation| operation.state != OperationState::Running) {
            return operations;
        }
        assert!(Instant::now() < until, "an operation does not end: {operations:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Stops a write at each of its await points, one after another. `check` compares the operations
/// with the vendor.
async fn stop_everywhere(
    op: impl Fn() -> WriteOp,
    faults: &[(CallKind, InjectedFault)],
    check: impl Fn(&matrix42::Vendor, &[Operation], &str),
) {
    for stop in [Stop::Abort, Stop::Kill] {
        let mut seen_states = Vec::new();
        for times in 0.. {
            let vendor = matrix42::Vendor::start().expect("a vendor");
            for (call, fault) in faults {
                vendor.faults.once(*call, fault.clone());
            }
            let (has_ended, operations) = stop_and_recover(&vendor, op(), stop, times).await;
            check(&vendor, &operations, &format!("{stop:?} at await point {times}: {operations:?}"));
            seen_states.extend(operations.iter().map(|operation| operation.state));
            vendor.stop().await;
            if has_ended {
                assert!(times > 3 && !seen_states.is_empty(), "{times} await points, {seen_states:?}");
                break;
            }
        }
    }
}

fn description(vendor: &matrix42::Vendor) -> Option<Value> {
    Some(vendor.state.fragment(CLASS, KEY)?.attributes.get("Description").cloned().unwrap_or_default())
}

fn update() -> WriteOp {
    let patch = Patch::parse_merge_patch(&r#"{"fields":{"Description":"new"}}"#.into()).expect("a patch");
    WriteOp::Update { id: RecordId::new(CLASS, KEY), patch }
}

fn check_update(vendor: &matrix42::Vendor, operations: &[Operation], at: &str) {
    check_state(description(vendor) == Some(json!("new")), operations, at);
}

/// The operation says applied if, and only if, the vendor holds the effect. Without it there is no
/// operation, or its begin was not confirmed and nothing was sent.
fn check_state(is_done: bool, operations: &[Operation], at: &str) {
    match operations {
        [] => assert!(!is_done, "{at}"),
        [operation] if is_done => assert_eq!(operation.state, OperationState::Applied, "{at}"),
        [operation] => assert_eq!(operation.state, OperationState::NotApplied, "{at}"),
        _ => panic!("{at}"),
    }
}

#[actix_web::test]
async fn an_update_stopped_at_any_await_point_is_applied_once_or_not_begun() {
    stop_everywhere(update, &[], check_update).await;
}

#[actix_web::test]
async fn a_lost_update_stopped_at_any_await_point_is_applied_once() {
    stop_everywhere(update, &[(CallKind::Update, InjectedFault::ResetAfter)], check_update).await;
}

#[actix_web::test]
async fn a_delete_stopped_at_any_await_point_is_applied_or_not_begun() {
    let delete = || WriteOp::Delete { id: RecordId::new(CLASS, KEY) };
    let check = |vendor: &matrix42::Vendor, operations: &[Operation], at: &str| {
        check_state(description(vendor).is_none(), operations, at);
    };
    stop_everywhere(delete, &[], check).await;
    stop_everywhere(delete, &[(CallKind::Delete, InjectedFault::ResetBefore)], check).await;
}

/// A person may have ended it, and another writer may have the record now.
#[actix_web::test]
async fn a_delete_that_no_longer_runs_in_the_store_is_not_sent_again() {
    let (vendor, folder) = (matrix42::Vendor::start().expect("a vendor"), tempfile::tempdir().expect("a folder"));
    let (system, metrics) = build_system(&vendor);
    let journal = open_store(&folder.path().join("store.db")).await;
    let (state, _queue) = WriteServices::new(vec![Arc::clone(&system)], journal.clone(), metrics);
    let id = RecordId::new(CLASS, KEY);
    let (command, context, gate) = (command(WriteOp::Delete { id: id.clone() }), context(), SendGate::default());
    let task = WriteTask::new((&state, &system), &command, &context, &gate, None);
    let record = system.adapter.read(&task.session, &id).await.expect("a record");
    let planned = system.adapter.plan_delete(&id, Some(&record), None).expect("a plan");
    let probe = OutcomeProbe { services: &state, system: &system, session: &task.session };
    for (is_stored, resolution, calls) in [(false, Resolution::Open, 0), (true, Resolution::Applied, 1)] {
        let write = WriteIntent {
            etag_before: Some(system.etag_header(&id, &record)),
            resendable_request: WriteIntent::build_resendable_request(&planned, Guarantee::Native),
            ..task.new_intent(Guarantee::Native, &[], false, ExpectedState::Deleted)
        };
        if is_stored {
            let stored = Intent { operation: write.operation.clone(), ..intent("A:1") };
            journal.begin(stored).await.expect("begun");
        }
        let finding = probe.poll_until_resolved(&mut write.into(), Instant::now(), Duration::from_secs(10)).await;
        assert_eq!((finding.resolution, vendor.log.count(CallKind::Delete)), (resolution, calls));
        assert_eq!(description(&vendor).is_some(), calls == 0);
    }
    journal.close(Duration::from_secs(10)).await;
    vendor.stop().await;
}

/// Its caller got the response that nothing was sent.
#[actix_web::test]
async fn a_write_that_was_stored_too_late_to_be_sent_is_not_sent_by_the_next_process() {
    for (left, state, calls) in [(Duration::ZERO, OperationState::Unknown, 0), (DEADLINE, OperationState::Applied, 1)] {
        let (vendor, folder) = (matrix42::Vendor::start().expect("a vendor"), tempfile::tempdir().expect("a folder"));
        let (file, (system, metrics)) = (folder.path().join("store.db"), build_system(&vendor));
        let journal = open_store(&file).await;
        let (state_before, _queue) =
            WriteServices::new(vec![Arc::clone(&system)], journal.clone(), Arc::clone(&metrics));
        let id = RecordId::new(CLASS, KEY);
        let (command, gate) = (command(WriteOp::Delete { id: id.clone() }), SendGate::default());
        let context = CallerContext { deadline: Instant::now() + left, ..context() };
        let session = VendorSession::new(&system, &context);
        let read = session.read_optional(&system, &id, Instant::now() + DEADLINE).await;
        let record = read.expect("read").expect("a record");
        let task = WriteTask::new((&state_before, &system), &command, &context, &gate, None);
        let request = system.adapter.plan_delete(&id, Some(&record), None).expect("a plan");
        let intent = WriteIntent {
            etag_before: Some(system.etag_header(&id, &record)),
            resendable_request: WriteIntent::build_resendable_request(&request, Guarantee::Native),
            ..task.new_intent(Guarantee::Native, &[], false, ExpectedState::Deleted)
        };
        let Ok(journaled) = journal_intent(Planned { task: &task, lease: None, request, intent }).await else {
            panic!("the write does not begin")
        };
        // The process is killed.
        std::mem::forget(journaled);
        journal.close(Duration::from_secs(10)).await;
        let journal = open_store(&file).await;
        let (next, queue) = WriteServices::new(vec![Arc::clone(&system)], journal.clone(), metrics);
        let reconciler = actix_web::rt::spawn(async move { run_reconciler(&next, queue).await });
        let operations = wait_until_all_ended(&journal).await;
        assert_eq!((operations[0].state, vendor.log.count(CallKind::Delete)), (state, calls));
        reconciler.abort();
        journal.close(Duration::from_secs(10)).await;
        vendor.stop().await;
    }
}

#[actix_web::test]
async fn a_create_stopped_at_any_await_point_makes_at_most_one_record() {
    let fields: Map<String, Value> = [("Name".to_owned(), json!("made once"))].into_iter().collect();
    let create = || WriteOp::Create { collection: CLASS.to_owned(), fields: fields.clone() };
    let is_made = |attributes: &Map<String, Value>| attributes.get("Name") == Some(&json!("made once"));
    stop_everywhere(create, &[], |vendor, operations, at| {
        let made = vendor.state.fragments(CLASS).into_iter().filter(|fragment| is_made(&fragment.attributes)).count();
        match operations {
            [] => assert_eq!(made, 0, "{at}"),
            [operation] if operation.state == OperationState::Applied => {
                assert!(made == 1 && operation.record.is_some(), "{at}");
            }
            // A create that may have arrived is never sent again.
            [operation] => assert!(operation.state != OperationState::Running && made == 0, "{at}"),
            _ => panic!("{at}"),
        }
    })
    .await;
}
