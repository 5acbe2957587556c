//! POST: a create that may have arrived is looked for, never sent again.

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::Guarantee;
use super::intended::{Intended, Wanted};
use super::intent::Stop;
use super::line::{Context, Ended};
use super::pending::Pending;
use crate::problem::Problem;
use crate::record::{Action, FaultKind, Invalid};

impl Context<'_> {
    /// The whole of a POST.
    pub(super) async fn create(&mut self, collection: &str, fields: &Map<String, Value>) -> Result<Ended, Stop> {
        let adapter = &self.system.adapter;
        if self.write.require_native {
            self.refuse_if_native_is_required()?;
        }
        let planned =
            adapter.plan_create(collection, fields).map_err(|errors: Vec<Invalid>| self.system.rejected(errors))?;
        self.system.consent(&planned.losses, &self.write.accept_loss)?;
        let known = self.known_before(collection, fields).await?;
        let intended = Intended {
            wanted: Wanted::Made { collection: collection.to_owned(), fields: fields.clone(), known },
            ..self.intended(Action::Create, None, Guarantee::Guarded, &planned.losses)
        };
        let pending = Pending::from(intended);
        self.gateway.begin(self.system, self.write, self.ask, &pending).await?;
        Ok(Ended::Verdict(self.carry(planned, pending).await))
    }

    /// The records that hold these values already, so that one of them is never taken for the one a lost answer was about.
    /// Where ids tell when a record was made nobody needs to look; where the look fails a lost answer stays unknown, and where the
    /// vendor knows no such collection or field nothing is sent.
    async fn known_before(
        &self,
        collection: &str,
        fields: &Map<String, Value>,
    ) -> Result<Option<Vec<String>>, Problem> {
        let adapter = &self.system.adapter;
        if adapter.profile().ids_tell_time {
            return Ok(None);
        }
        let left = self.ask.deadline.saturating_duration_since(Instant::now());
        self.session.patience(Instant::now() + (left / 4).min(self.system.policy.timeout));
        match adapter.matching(&self.session, collection, fields).await {
            Ok(matching) => Ok(matching.map(|all| all.iter().map(|id| id.as_str().to_owned()).collect())),
            Err(fault) if matches!(fault.kind, FaultKind::NotFound | FaultKind::Rejected) => {
                Err(self.system.problem(&fault))
            }
            Err(_) => Ok(None),
        }
    }
}
