//! The configured models, with the OpenAPI document that describes them.

use std::sync::Arc;

use bytes::Bytes;

use crate::models::Model;
use crate::problem::{Problem, ProblemKind};

/// The configured models.
pub struct Models {
    list: Vec<Arc<Model>>,
    /// The document with the models.
    openapi: Bytes,
}

impl Models {
    /// The models of a configuration, and the text of
    /// [`openapi_json_with`](super::openapi_json_with) them.
    #[must_use]
    pub fn new(list: Vec<Arc<Model>>, openapi: String) -> Self {
        Self { list, openapi: openapi.into() }
    }

    /// Every model, in the order of the configuration.
    #[must_use]
    pub fn list(&self) -> &[Arc<Model>] {
        &self.list
    }

    /// The names of the models over a collection of a system.
    pub(super) fn names_for_collection(&self, system: &str, collection: &str) -> Vec<String> {
        let is_over = |model: &&Arc<Model>| {
            model.map_of(system).is_some_and(|map| map.collection.as_deref().is_none_or(|own| own == collection))
        };
        self.list.iter().filter(is_over).map(|model| model.name.to_string()).collect()
    }

    /// The OpenAPI document.
    pub(super) fn openapi(&self) -> Bytes {
        self.openapi.clone()
    }

    /// The model of a name.
    ///
    /// # Errors
    /// 404.
    pub(super) fn find(&self, name: &str) -> Result<&Arc<Model>, Problem> {
        let found = self.list.iter().find(|model| &*model.name == name);
        found.ok_or_else(|| ProblemKind::ModelNotFound.with_detail("no model of this name is configured"))
    }
}
