//! POST: a create that may have arrived is looked for, never sent again.

use serde_json::{Map, Value};

use super::Guarantee;
use super::intent::Stop;
use super::line::{Context, Ended};
use super::pending::{Pending, Wanted};
use crate::record::{Action, Invalid};

impl Context<'_> {
    /// The whole of a POST.
    pub(super) async fn create(&mut self, collection: &str, fields: &Map<String, Value>) -> Result<Ended, Stop> {
        let adapter = &self.system.adapter;
        if self.write.require_native {
            self.refuse_if_native_is_required()?;
        }
        let planned = adapter.plan_create(collection, fields).map_err(|errors: Vec<Invalid>| self.rejected(errors))?;
        self.system.consent(&planned.losses, &self.write.accept_loss)?;
        let pending = Pending {
            wanted: Wanted::Made { collection: collection.to_owned(), fields: fields.clone() },
            ..self.new_pending(Action::Create, None, Guarantee::Guarded, &planned.losses)
        };
        self.gateway.begin(self.system, self.write, self.ask, &pending).await?;
        Ok(Ended::Verdict(self.carry(planned, pending).await))
    }
}
