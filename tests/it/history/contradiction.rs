//! Responses of one write that contradict each other.

use super::caller::{ResponseKind, Write, WriteResponse};

/// An outcome that was taken back: what an `Idempotency-Key` replays never changes. A write that
/// was rejected before its intent is not remembered; but a stale ETag stays stale. A success that
/// the store could not take is returned all the same, and until then the key names what runs.
/// A rebase that met other writers until its time was over can be tried again.
pub(super) fn find_contradiction(
    write: &Write,
    (database_failures, rebases): (bool, bool),
    was_rejected: impl Fn(&String) -> bool,
) -> Option<String> {
    let mut outcome: Option<&WriteResponse> = None;
    for response in &write.responses {
        let kind = response.kind;
        if rebases && outcome.is_none() && kind == ResponseKind::PreconditionFailed {
            continue;
        }
        let Some(before) = outcome else {
            outcome = kind.is_final().then_some(response);
            continue;
        };
        let remembered = before.operation.is_some();
        // The operation continues, and the store cannot show it at the moment.
        let is_hidden = kind == ResponseKind::OutcomeUnknown && before.kind == ResponseKind::Accepted;
        if database_failures && is_hidden && response.operation == before.operation {
            continue;
        }
        let fits = match kind {
            ResponseKind::Disconnected | ResponseKind::Rejected(0) => true,
            ResponseKind::InProgress if database_failures => true,
            ResponseKind::InProgress | ResponseKind::Rejected(_) => !remembered,
            // The record was deleted after the rejection.
            ResponseKind::NotFound if before.kind == ResponseKind::PreconditionFailed => !remembered,
            // Another replica had read before the ETag became stale, and the vendor rejected its
            // write.
            ResponseKind::Accepted if before.kind == ResponseKind::PreconditionFailed => {
                !remembered && response.operation.as_ref().is_some_and(&was_rejected)
            }
            _ => kind == before.kind && response.replayed == remembered,
        };
        if kind.is_final() && response.operation.is_some() {
            outcome = Some(response);
        }
        if !fits {
            return Some(format!("{before:?} first, then {response:?}"));
        }
    }
    None
}
