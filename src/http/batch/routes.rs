//! The paths that an item of a batch can name.

use std::rc::Rc;

use actix_web::http::{Method, Uri};

use crate::http::item_request::PathParams;
use crate::http::route::Route;
use crate::metrics::RequestAction::{Create, Delete, List, Preview, Read, Update};

/// Matches `/models/{model}/{system}`, but is the schema of a model.
const MODEL_SCHEMA: &str = "/models/{model}/schema";

/// The paths that an item can name.
pub(in crate::http) struct ItemRoutes(Vec<Rc<Route>>);

impl ItemRoutes {
    pub(in crate::http) fn new() -> Self {
        let record = Route::new("/records/{system}/{id}").with(Method::GET, Read).with(Method::HEAD, Read);
        let collection = Route::new("/records/{system}").with(Method::GET, List).with(Method::HEAD, List);
        let document = Route::new("/models/{model}/{system}/{id}").with(Method::GET, Read).with(Method::HEAD, Read);
        let documents = Route::new("/models/{model}/{system}").with(Method::GET, List).with(Method::HEAD, List);
        let preview = |path| Rc::new(Route::new(path).with(Method::POST, Preview));
        Self(vec![
            // Before the path of a record, whose id it would be.
            preview("/records/{system}/preview"),
            preview("/models/{model}/{system}/preview"),
            Rc::new(record.with(Method::PATCH, Update).with(Method::DELETE, Delete)),
            Rc::new(collection.with(Method::POST, Create)),
            Rc::new(document.with(Method::PATCH, Update).with(Method::DELETE, Delete)),
            Rc::new(documents.with(Method::POST, Create)),
            preview("/records/{system}/{id}/preview"),
            preview("/models/{model}/{system}/{id}/preview"),
        ])
    }

    /// The route of a path and the segments that it names; `None` for a path that no item can have.
    pub(in crate::http) fn find(&self, path: &str) -> Option<(Rc<Route>, PathParams)> {
        path.parse::<Uri>().ok().filter(|uri| uri.path() == path)?;
        if bind(MODEL_SCHEMA, path).is_some() {
            return None;
        }
        self.0.iter().find_map(|route| Some((Rc::clone(route), bind(route.path, path)?)))
    }
}

/// The segments of `path` that `pattern` names.
fn bind(pattern: &'static str, path: &str) -> Option<PathParams> {
    let (mut names, mut segments) = (pattern.split('/'), path.split('/'));
    let mut bound = Vec::with_capacity(2);
    loop {
        match (names.next(), segments.next()) {
            (None, None) => return Some(bound),
            (Some(name), Some(segment)) => match name.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                Some(name) if !segment.is_empty() => bound.push((name, segment.to_owned())),
                None if name == segment => {}
                _ => return None,
            },
            _ => return None,
        }
    }
}
