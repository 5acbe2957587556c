//! The configured models, with the OpenAPI document that describes them.

use std::sync::Arc;

use bytes::Bytes;

use super::openapi;
use crate::models::Model;
use crate::problem::{Problem, ProblemKind};

/// The configured models.
pub struct Models {
    list: Vec<Arc<Model>>,
    /// The document with the models; `None` without models.
    openapi: Option<Bytes>,
}

impl Models {
    /// The models of a configuration.
    #[must_use]
    pub fn new(list: Vec<Arc<Model>>) -> Self {
        let openapi = (!list.is_empty()).then(|| openapi::openapi_json_with(&list).into());
        Self { list, openapi }
    }

    /// Every model, in the order of the configuration.
    #[must_use]
    pub fn list(&self) -> &[Arc<Model>] {
        &self.list
    }

    /// The OpenAPI document.
    #[must_use]
    pub fn openapi(&self) -> Bytes {
        self.openapi.clone().unwrap_or_else(|| Bytes::from_static(openapi::OPENAPI_JSON.as_bytes()))
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

impl Default for Models {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}
