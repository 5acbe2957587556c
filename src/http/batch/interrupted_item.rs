//! What is known of an item of a stored batch that has begun before, perhaps in another process.

use std::collections::{HashMap, HashSet};

use crate::journal::{Journal, JournalError};
use crate::problem::{Problem, ProblemKind};

/// Whether the write of an item may still run, so that its 409 is not yet its outcome. `name`
/// is what the ledger calls the item.
///
/// A 409 without an operation is one, too: the first beginning has no intent yet, or another writer
/// is about to be done with the record.
pub(super) async fn may_be_running(journal: &Journal, name: &str, problem: Option<&Problem>) -> bool {
    let Some(problem) = problem.filter(|problem| problem.name == ProblemKind::OperationInProgress) else {
        return false;
    };
    let Some(id) = &problem.operation else { return true };
    match journal.operation(id).await {
        Ok(operation) => operation.is_some_and(|operation| operation.batch.as_deref() == Some(name)),
        // A store that cannot be read may be read later.
        Err(_) => true,
    }
}

/// The beginning of the key of each item of a batch. It has a space, which no caller's key has.
pub(super) fn key_prefix(batch_key: &str) -> String {
    format!("batch {batch_key} ")
}

/// The items whose writes have an intent, so that beginning them again sends nothing. `keys` has
/// the idempotency key of each item that writes.
pub(super) async fn find_begun(
    journal: &Journal,
    caller: &str,
    prefix: &str,
    keys: HashMap<usize, String>,
) -> Result<HashSet<usize>, JournalError> {
    let own = keys.values().filter(|key| !key.starts_with(prefix)).cloned().collect();
    let claimed = journal.claimed_keys(caller, prefix, own).await?;
    Ok(keys.into_iter().filter(|(_, key)| claimed.contains(key)).map(|(item, _)| item).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::journal::JournalSettings;
    use crate::record::OperationId;

    async fn open_journal() -> Journal {
        let settings = JournalSettings { url: "sqlite::memory:".to_owned(), ..JournalSettings::default() };
        Journal::open(settings, Arc::new(())).await.expect("a store")
    }

    #[tokio::test]
    async fn a_write_runs_until_the_store_has_its_outcome() {
        let journal = open_journal().await;
        let in_progress = ProblemKind::OperationInProgress.with_detail("runs");
        assert!(may_be_running(&journal, "b/a", Some(&in_progress)).await, "it has no intent yet");
        let other = ProblemKind::VendorBusy.with_detail("busy");
        assert!(!may_be_running(&journal, "b/a", Some(&other)).await);
        assert!(!may_be_running(&journal, "b/a", None).await);
        let of_another = in_progress.operation(&OperationId::new());
        assert!(!may_be_running(&journal, "b/a", Some(&of_another)).await, "it is none of this item");
        assert!(journal.close(Duration::from_secs(10)).await);
        assert!(may_be_running(&journal, "b/a", Some(&of_another)).await, "the store cannot be read");
    }
}
