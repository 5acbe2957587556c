//! The token of a vendor in the journal, where replicas share it (contract 5.7).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::journal::{Journal, LeaseResult};
use crate::record::SystemName;
use crate::transport::{SignInLock, TokenStore};

/// No system has this name, so that the lease is none of a record.
const LEASE_OWNER: &str = "token:";
/// Longer than a sign-in takes; a replica that dies meanwhile holds the others up no longer.
const LEASE_TTL: Duration = Duration::from_secs(15);

/// The row of one system.
struct JournalTokens {
    journal: Journal,
    system: SystemName,
}

/// The token store of a system; `None` where no other process uses the journal.
pub(super) fn token_store(journal: &Journal, system: &SystemName) -> Option<Arc<dyn TokenStore>> {
    let tokens = || JournalTokens { journal: journal.clone(), system: system.clone() };
    journal.is_shared().then(|| Arc::new(tokens()) as _)
}

#[async_trait(?Send)]
impl TokenStore for JournalTokens {
    async fn load(&self) -> Option<Vec<u8>> {
        self.journal.token(self.system.as_str()).await.ok().flatten()
    }

    async fn save(&self, sealed: Vec<u8>) {
        if let Err(error) = self.journal.save_token(self.system.as_str(), &sealed).await {
            tracing::warn!(system = %self.system, %error, "the vendor's token is not shared with the other replicas");
        }
    }

    async fn try_lock(&self) -> Option<SignInLock> {
        let acquired = self.journal.acquire(LEASE_OWNER, self.system.as_str(), LEASE_TTL).await;
        let Ok(LeaseResult::Lease(lease)) = acquired else { return None };
        let journal = self.journal.clone();
        Some(SignInLock::new(move || {
            // If this fails, the lease expires.
            actix_web::rt::spawn(async move { journal.release(&lease).await });
        }))
    }
}
