//! Writes of records: one typed pipeline in front of every vendor.
//!
//! `pipeline` runs the five steps `admit`, `plan`, `begin`, `send` and `finish`; each has its file.
//! `resolve` is the pure judgement of a write whose outcome is not plain, and `probe` gathers its
//! evidence. `reconciler` takes over the writes that outlive their callers or their process.
//!
//! - *Probe*: to read what the vendor shows of a write whose outcome is not known.
//! - *Poll*: one probe of several, with pauses between them.
//! - *Resolve*: to judge what a probe has shown (`resolve`), or a person's verdict on the outcome.
//! - *Reconcile*: to probe and resolve until the outcome is recorded.
//! - `settle`: what callers and operators call it to reconcile (`settle_timeout`, `/settle`).

// What moves through the pipeline.
mod command;
mod in_flight_write;
mod intent;
mod outcome;
mod stored_request;

// What the steps share.
mod active_probes;
mod applied_rebase;
mod concurrent_creates;
mod concurrent_writes;
mod conflict_retries;
mod drain;
mod idempotency;
mod interim_outcome;
mod lease;
mod not_applied_problem;
mod probe;
mod problems;
mod reconcile_on_drop;
mod record_outcome;
mod record_queues;
mod resend;
mod resolve;
mod schema_findings;
mod send_gate;
mod unknown_writes;
mod verify_applied;
mod write_services;
mod write_task;

// The steps, what runs them, and what runs before them (`schema_check`), instead of them
// (`preview`) or after them (`reconciler`, `operator_actions`).
mod admit;
mod begin;
mod finish;
mod operator_actions;
mod pipeline;
mod plan;
mod preview;
mod reconciler;
mod schema_check;
mod send;
mod submit;
#[cfg(test)]
mod tests;

pub use command::{Handling, IdempotencyKey, Operator, Prefer, WriteCommand, WriteOp};
pub(crate) use drain::DrainTracker;
pub use operator_actions::ProbeRequestResult;
pub(crate) use operator_actions::{probe_again, record_verdict_by_hand};
pub use outcome::{SuccessBody, WriteOutcome, WriteResponse, WriteSuccess};
pub use plan::patch_error_to_problem;
pub(crate) use preview::preview;
pub use preview::{ExpectedResponse, Preview, PreviewCall, PreviewChange, PreviewCompletion, PreviewLoss};
pub(crate) use reconciler::run_reconciler;
pub(crate) use submit::submit;
pub use write_services::ReconcileQueue;
pub(crate) use write_services::WriteServices;
