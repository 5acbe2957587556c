//! The request of an item, with the record and the tag that `{x}` stands for, and 424 for an item
//! whose dependency has none or has failed.

use std::rc::Rc;

use actix_web::http::header::{HeaderValue, IF_MATCH};

use super::item_names::{item_name, key_prefix};
use super::item_records::{fill, is_same_record};
use super::outcome::ItemOutcome;
use super::request::BatchItem;
use super::run::Runner;
use crate::http::item_request::{GivenReferences, ItemRequest, segment};
use crate::http::route::Route;
use crate::http::write_request::WriteMode;
use crate::problem::ProblemKind;

impl Runner {
    /// The request of an item, with what `{x}` stands for.
    ///
    /// # Errors
    /// 424 where the item before has no record or no tag.
    pub(super) fn build_item_request(&mut self, index: usize) -> Result<(Rc<Route>, ItemRequest), Box<ItemOutcome>> {
        let Some(mut item) = self.items.get(index).cloned() else {
            return Err(Box::new(self.not_begun_outcome(index)));
        };
        let missing = |what: &str, of: usize| {
            let id = self.items.get(of).map(|item| item.id.as_str()).unwrap_or_default();
            match self.context.mode {
                WriteMode::Execute => format!("the response of item {id} has no {what}"),
                WriteMode::Preview => format!("item {id} is only previewed, so that it has no {what} yet"),
            }
        };
        let earlier = self.earlier.get(&index);
        let mut replays_only = earlier.is_some_and(|earlier| earlier.operation.is_none());
        let mut given = GivenReferences::default();
        if let Some(of) = item.record_of {
            let record = self.results.get(of).and_then(|result| result.record.clone());
            let before = earlier.and_then(|earlier| earlier.record.clone());
            let both = record.as_deref().zip(before.as_deref());
            // A reference to another record than before makes it another request.
            if both.is_none_or(|(one, other)| is_same_record(&self.context.state, &item.params, one, other)) {
                given.path = Some(item.path.clone());
            }
            let Some(record) = record.or(before) else {
                let detail = missing("record's id", of);
                return Err(Box::new(self.dependency_failed(index, of, Some(detail))));
            };
            for (name, segment) in &mut item.params {
                if *name == "id" {
                    segment.clone_from(&record);
                }
            }
            item.path = fill(item.route.path, &item.params);
        }
        if let Some(of) = item.tag_of {
            given.if_match = self.items.get(of).map(|item| format!("{{{}}}", item.id));
            let tag = self.results.get(of).and_then(|result| result.etag.as_deref());
            let tag = tag.and_then(|tag| tag.parse().ok());
            // The tag of a write that is only replayed does not matter. Without it nothing is sent.
            replays_only |= earlier.is_some() && tag.is_none();
            let Some(tag) = tag.or_else(|| replays_only.then_some(HeaderValue::from_static("*"))) else {
                let detail = match self.context.mode {
                    WriteMode::Execute => format!("{}; add Prefer: return=representation to it", missing("ETag", of)),
                    WriteMode::Preview => missing("ETag", of),
                };
                return Err(Box::new(self.dependency_failed(index, of, Some(detail))));
            };
            item.headers.insert(IF_MATCH, tag);
        }
        if let Some(result) = self.results.get_mut(index) {
            result.record = segment(&item.params, "id").map(str::to_owned);
            result.path.clone_from(&item.path);
        }
        let BatchItem { id, method, path, route, params, headers, body, .. } = item;
        let name = item_name(&self.context.name, &id).into();
        let (key, is_stored) = (self.context.key.as_ref().map(|key| key_prefix(key) + &id), self.context.is_stored);
        let request =
            ItemRequest { method, path, params, headers, body, name, slot: None, key, given, is_stored, replays_only };
        Ok((route, request))
    }

    /// 424; its `instance` is the path of the item that failed.
    pub(super) fn dependency_failed(&mut self, item: usize, because: usize, detail: Option<String>) -> ItemOutcome {
        let detail = detail.unwrap_or_else(|| {
            let id = self.items.get(because).map(|item| item.id.as_str()).unwrap_or_default();
            let ended = self.results.get(because).map(|result| result.ended.as_str()).unwrap_or_default();
            format!("item {id} ended with {ended}; this item was not begun, and nothing was sent for it")
        });
        let instance = self.results.get(because).map(|result| result.path.clone()).unwrap_or_default();
        let problem = ProblemKind::DependencyFailed.with_detail(detail);
        if let Some(result) = self.results.get_mut(item) {
            // Those that depend on this one name the same problem.
            result.path.clone_from(&instance);
            result.ended = format!("{} {}", problem.kind.spec().status, problem.kind.as_str());
        }
        ItemOutcome::not_begun(&self.context.state, self.items.get(item), &instance, problem)
    }
}
