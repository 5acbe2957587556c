//! A write is reconciled whatever fails meanwhile, even where the gateway's own code panics.

mod faulty_adapter;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use records_gateway::catalog::Catalog;
use records_gateway::gateway::Gateway;
use records_gateway::journal::{Durability, Journal, JournalSettings, OperationQuery};
use records_gateway::metrics::Metrics;
use records_gateway::problem::ProblemKind;
use records_gateway::record::{
    CallerName, CallerShare, OperationState, Patch, Precondition, RecordId, RequestId, SystemName,
};
use records_gateway::sandbox::{self, CallKind, Sandbox, matrix42};
use records_gateway::system::{CallerContext, System, SystemPolicy};
use records_gateway::transport::trace::TraceContext;
use records_gateway::transport::{Priority, StackSettings, TransportStack};
use records_gateway::writes::{Prefer, WriteCommand, WriteOp, WriteOutcome};
use tokio::task::LocalSet;
use tokio::time::Instant;

use faulty_adapter::{FaultyAdapter, faulty_adapter};

/// A system at the fake vendor, with this adapter.
fn build_system(
    vendors: &Sandbox,
    adapter: &Arc<FaultyAdapter>,
    settle_timeout: Duration,
) -> (Arc<System>, Arc<Metrics>) {
    let name = SystemName::parse("itsm").unwrap();
    let metrics = Metrics::new(std::slice::from_ref(&name)).unwrap();
    let settings = StackSettings { retries: 0, ..StackSettings::for_base_url(vendors.matrix42.base_url()) };
    let transport = TransportStack::new(&name, Arc::clone(adapter) as _, &settings, None, &metrics).unwrap();
    let transport = Arc::new(transport);
    let schema_ttl = Duration::from_mins(10);
    let system = System {
        index: metrics.index(&name).unwrap(),
        catalog: Catalog::new("/systems/itsm", Arc::clone(adapter) as _, Arc::clone(&transport), schema_ttl),
        transport,
        name,
        tenant_fingerprint: "".into(),
        key_expires: None,
        adapter: Arc::clone(adapter) as _,
        policy: SystemPolicy {
            collection: None,
            require_if_match: true,
            warn_on_loss: false,
            allow_rebase: true,
            require_plan: Vec::new(),
            together: Vec::new(),
            timeout: Duration::from_secs(2),
            settle_timeout,
            completion_timeout: Duration::from_mins(1),
            completion_poll: Duration::from_millis(10),
            ..SystemPolicy::default()
        },
    };
    (Arc::new(system), metrics)
}

async fn open_store(url: &str) -> Journal {
    let settings = JournalSettings {
        url: url.into(),
        durability: Durability::Commit,
        idempotency_ttl: Duration::from_hours(1),
        retention: Duration::from_hours(1),
        remember_shown: Duration::ZERO,
    };
    Journal::open(settings, Arc::new(())).await.unwrap()
}

fn delete_command() -> (WriteCommand, CallerContext) {
    let write = WriteCommand {
        rejected_values: Vec::new(),
        op: WriteOp::Delete { id: RecordId::new(matrix42::CATEGORY_CLASS, matrix42::SOFTWARE_ID) },
        precondition: Some(Precondition::Exists),
        if_none_match: None,
        prefer: Prefer::default(),
        accept_loss: Vec::new(),
        require_native: false,
        mapping: None,
        if_plan: None,
        idempotency: None,
        replays_only: false,
    };
    let context = CallerContext {
        caller: CallerName("caller".into()),
        request_id: RequestId("request".into()),
        batch_item: None,
        slot: None,
        trace: TraceContext::from_headers(&[], &[]).into(),
        received_at: Instant::now(),
        deadline: Instant::now() + Duration::from_secs(5),
        priority: Priority::single(CallerShare::default()),
    };
    (write, context)
}

/// A DELETE that the vendor applies without a response, reconciled by a gateway some of whose reads
/// panic. Returns the final state and the number of reads.
async fn reconcile_despite_panics(
    should_panic: fn(usize) -> bool,
    settle_timeout: Duration,
) -> (OperationState, usize) {
    let vendors = Sandbox::start().unwrap();
    vendors.matrix42.faults.once(CallKind::Delete, sandbox::InjectedFault::ResetAfter);
    let adapter = faulty_adapter(should_panic);
    let (system, metrics) = build_system(&vendors, &adapter, settle_timeout);
    let store = open_store("sqlite::memory:").await;
    let (gateway, queue) = Gateway::new(vec![Arc::clone(&system)], store.clone(), metrics);
    let reconciler = actix_web::rt::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.run_reconciler(queue).await }
    });
    let (write, context) = delete_command();
    let response = gateway.write(&system, write, &context).await;
    let WriteOutcome::Problem(result) = response.outcome else { panic!("every read fails") };
    assert_eq!((result.kind, result.operation.is_some()), (ProblemKind::OutcomeUnknown, true));
    assert!(
        vendors.matrix42.state.fragment(matrix42::CATEGORY_CLASS, matrix42::SOFTWARE_ID).is_none(),
        "the vendor has applied it"
    );
    let state = wait_for_final_state(&store).await;
    reconciler.abort();
    assert_eq!(vendors.matrix42.log.count(CallKind::Delete), 1);
    (state, adapter.reads.load(Ordering::SeqCst))
}

/// The final state of the only operation.
async fn wait_for_final_state(store: &Journal) -> OperationState {
    let query = OperationQuery { systems: vec!["itsm".into()], limit: 10, ..OperationQuery::default() };
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let operations = store.operations(query.clone()).await.unwrap().items;
        assert_eq!(operations.len(), 1);
        if operations[0].state != OperationState::Running {
            return operations[0].state;
        }
        assert!(Instant::now() < until, "the operation does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix_web::test]
async fn a_write_whose_reconciliation_panics_is_reconciled_again() {
    // The first read is for the precondition; the second is the caller's, the third the
    // reconciler's.
    let result = reconcile_despite_panics(|read| read == 2 || read == 3, Duration::from_mins(1)).await;
    assert_eq!(result, (OperationState::Applied, 5));
}

#[actix_web::test]
async fn a_write_whose_reconciliation_always_panics_ends_unknown() {
    let (state, _) = reconcile_despite_panics(|read| read > 1, Duration::from_secs(1)).await;
    assert_eq!(state, OperationState::Unknown);
}

/// The store persists an outcome that it has accepted. Reconciling the write again could send it
/// again and count it twice.
#[actix_web::test]
async fn a_write_whose_outcome_is_being_stored_is_not_reconciled_again() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("store.db").display().to_string();
    vendors.matrix42.faults.once(CallKind::Delete, sandbox::InjectedFault::Hold);
    let adapter = faulty_adapter(|_| false);
    let (system, metrics) = build_system(&vendors, &adapter, Duration::from_mins(1));
    let store = open_store(&format!("sqlite:{file}")).await;
    let (gateway, queue) = Gateway::new(vec![Arc::clone(&system)], store.clone(), Arc::clone(&metrics));
    let reconciler = actix_web::rt::spawn({
        let gateway = Arc::clone(&gateway);
        async move { gateway.run_reconciler(queue).await }
    });
    let (write, context) = delete_command();
    let gauge = |name: &str| {
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        let series = format!("{name}{{system=\"itsm\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&series)).unwrap().to_owned()
    };
    let locked = rusqlite::Connection::open(&file).unwrap();
    let worker = LocalSet::new();
    {
        let writing = worker.run_until(gateway.write(&system, write, &context));
        let locking = async {
            wait_until(|| vendors.matrix42.log.count(CallKind::Delete) == 1).await;
            locked.execute_batch("BEGIN IMMEDIATE").unwrap();
            vendors.matrix42.faults.release();
            wait_until(|| gauge("operations_running") == "0").await;
        };
        tokio::select! {
            result = writing => panic!("the store was locked: {result:?}"),
            () = locking => {}
        }
    }
    drop(worker);
    assert_eq!(gauge("writes_unknown"), "0", "the write was not handed to the reconciler");
    locked.execute_batch("COMMIT").unwrap();
    assert_eq!(wait_for_final_state(&store).await, OperationState::Applied);
    reconciler.abort();
    // The one read is for the precondition.
    assert_eq!((adapter.reads.load(Ordering::SeqCst), vendors.matrix42.log.count(CallKind::Delete)), (1, 1));
    assert_eq!(gauge("operations_running"), "0");
}

/// A process that finds only the intent would send the write again.
#[actix_web::test]
async fn a_rejection_is_not_returned_before_the_store_has_persisted_it() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let file = folder.path().join("store.db").display().to_string();
    vendors.matrix42.faults.once(CallKind::Update, sandbox::InjectedFault::Hold);
    let (system, metrics) = build_system(&vendors, &faulty_adapter(|_| false), Duration::from_mins(1));
    let store = open_store(&format!("sqlite:{file}")).await;
    let (gateway, _queue) = Gateway::new(vec![Arc::clone(&system)], store.clone(), metrics);
    let (mut write, mut context) = delete_command();
    let id = RecordId::new(matrix42::CATEGORY_CLASS, matrix42::SOFTWARE_ID);
    let patch = Patch::parse_merge_patch(&r#"{"fields":{"Description":"refused"}}"#.into()).unwrap();
    write.op = WriteOp::Update { id, patch };
    context.deadline = Instant::now() + Duration::from_mins(1);
    let locked = rusqlite::Connection::open(&file).unwrap();
    let reject = async {
        wait_until(|| vendors.matrix42.log.count(CallKind::Update) == 1).await;
        let state = &vendors.matrix42.state;
        assert!(state.write(matrix42::CATEGORY_CLASS, matrix42::SOFTWARE_ID, |all| {
            all.insert("Description".into(), "an external write".into());
        }));
        locked.execute_batch("BEGIN IMMEDIATE").unwrap();
        vendors.matrix42.faults.release();
    };
    let (result, ()) = futures_util::future::join(gateway.write(&system, write, &context), reject).await;
    let WriteOutcome::Problem(problem) = result.outcome else { panic!("the write was rejected") };
    assert_eq!((problem.kind, problem.operation.is_some()), (ProblemKind::OutcomeUnknown, true));
    locked.execute_batch("COMMIT").unwrap();
    assert_eq!(wait_for_final_state(&store).await, OperationState::NotApplied);
    assert_eq!(vendors.matrix42.log.count(CallKind::Update), 1);
}

/// Gateway and vendor were down together for longer than the completion timeout, and the vendor
/// comes back later.
#[actix_web::test]
async fn an_orphan_older_than_its_timeout_is_polled_again_after_a_restart() {
    let (vendors, folder) = (Sandbox::start().unwrap(), tempfile::tempdir().unwrap());
    let file = format!("sqlite:{}", folder.path().join("store.db").display());
    let settle_timeout = Duration::from_secs(2);
    vendors.matrix42.faults.once(CallKind::Delete, sandbox::InjectedFault::HangAfter);
    {
        let (system, metrics) = build_system(&vendors, &faulty_adapter(|_| false), settle_timeout);
        let store = open_store(&file).await;
        let (gateway, _queue) = Gateway::new(vec![Arc::clone(&system)], store.clone(), metrics);
        let (write, context) = delete_command();
        tokio::select! {
            result = gateway.write(&system, write, &context) => panic!("the vendor does not respond: {result:?}"),
            () = wait_until(|| vendors.matrix42.log.count(CallKind::Delete) == 1) => {}
        }
        store.close(Duration::from_secs(5)).await;
    }
    tokio::time::sleep(settle_timeout).await;
    vendors.matrix42.faults.next(CallKind::Read, 3, sandbox::InjectedFault::ResetBefore);
    let (system, metrics) = build_system(&vendors, &faulty_adapter(|_| false), settle_timeout);
    let store = open_store(&file).await;
    let (gateway, queue) = Gateway::new(vec![system], store.clone(), metrics);
    let reconciler = actix_web::rt::spawn(async move { gateway.run_reconciler(queue).await });
    assert_eq!(wait_for_final_state(&store).await, OperationState::Applied);
    reconciler.abort();
    assert_eq!(vendors.matrix42.log.count(CallKind::Delete), 1);
}

async fn wait_until(mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "the condition did not become true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
