//! A vendor request in a form that can be stored, so that another process can send it again.

use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::transport::{VendorCallKind, VendorRequest};

/// A vendor request to send again. It holds no secret: the transport authorizes it later.
#[derive(Debug)]
pub(super) struct StoredRequest(VendorRequest);

/// A [`StoredRequest`] in JSON: text throughout.
#[derive(Serialize, Deserialize)]
struct StoredRequestJson {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

impl StoredRequest {
    pub(super) fn new(request: VendorRequest) -> Self {
        Self(request)
    }

    /// A copy of the request.
    pub(super) fn restore(&self) -> VendorRequest {
        self.0.clone()
    }

    fn to_json(&self) -> Option<StoredRequestJson> {
        let VendorRequest { method, path, headers, body, .. } = &self.0;
        let headers = headers.iter().map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
        let body = match body {
            Some(bytes) => Some(std::str::from_utf8(bytes).ok()?.to_owned()),
            None => None,
        };
        Some(StoredRequestJson {
            method: method.to_string(),
            path: path.clone(),
            headers: headers.collect::<Option<_>>()?,
            body,
        })
    }

    fn from_json(json: StoredRequestJson) -> Option<Self> {
        let method = Method::from_bytes(json.method.as_bytes()).ok()?;
        let mut request = VendorRequest::new(VendorCallKind::Update, method, json.path);
        for (name, value) in &json.headers {
            request.headers.push((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?));
        }
        request.body = json.body.map(Bytes::from);
        Some(Self(request))
    }
}

impl Serialize for StoredRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().ok_or_else(|| S::Error::custom("the request is not text"))?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_json(StoredRequestJson::deserialize(deserializer)?)
            .ok_or_else(|| D::Error::custom("not a vendor request"))
    }
}
