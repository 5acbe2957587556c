//! A vendor request in a form that can be stored, so that another process can send it again.

use std::borrow::Cow;

use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use bytes::Bytes;
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::{RawJson, RawObject};
use crate::transport::{VendorRequest, VendorRequestKind};

/// A vendor request to send again. It holds no secret: the transport authorizes it later.
#[derive(Debug)]
pub(super) struct StoredRequest {
    request: VendorRequest,
    /// The body up to the members that the write sets, where it ends with them: they are stored
    /// once, as what the write expects.
    body_start: Option<String>,
}

/// A [`StoredRequest`] in JSON.
#[derive(Serialize, Deserialize)]
struct StoredRequestJson<'r> {
    method: Cow<'r, str>,
    path: Cow<'r, str>,
    headers: Vec<(Cow<'r, str>, Cow<'r, str>)>,
    /// A body that is JSON, unescaped: it is the largest part of a stored write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    json: Option<RawJson>,
    /// Any other body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'r, str>>,
    /// A body that ends with the members that the write expects, without them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body_start: Option<Cow<'r, str>>,
}

impl StoredRequest {
    pub(super) fn new(request: VendorRequest) -> Self {
        Self { request, body_start: None }
    }

    /// The same request, stored without the members that the write sets if its body ends with them.
    pub(super) fn share_members(self, members: Option<&RawObject>) -> Self {
        let body = self.request.body.as_deref().and_then(|body| std::str::from_utf8(body).ok());
        let body_start = members.zip(body).and_then(|(members, body)| {
            let end = members.to_json();
            body.strip_suffix(end.strip_prefix('{')?).map(str::to_owned)
        });
        Self { body_start, ..self }
    }

    /// Completes a body that was stored without these members; `None` if they are missing.
    pub(super) fn complete_body(&mut self, members: Option<&RawObject>) -> Option<()> {
        if let Some(start) = &self.body_start {
            let end = members?.to_json();
            self.request.body = Some([start.as_str(), end.strip_prefix('{')?].concat().into());
        }
        Some(())
    }

    /// A copy of the request. Its kind is not stored: that of the write determines it.
    pub(super) fn restore(&self, kind: VendorRequestKind) -> VendorRequest {
        VendorRequest { kind, ..self.request.clone() }
    }

    fn to_json(&self) -> Option<StoredRequestJson<'_>> {
        let VendorRequest { method, path, headers, body, .. } = &self.request;
        let headers = headers.iter().map(|(name, value)| Some((name.as_str().into(), value.to_str().ok()?.into())));
        // The body is sent again byte for byte: white space around a value would be lost, and
        // `null` would become no body.
        let body = body.as_ref().filter(|_| self.body_start.is_none());
        let json = body.and_then(RawJson::of_whole).filter(|json| json.as_str() != "null");
        let text = match body.filter(|_| json.is_none()) {
            Some(bytes) => Some(std::str::from_utf8(bytes).ok()?.into()),
            None => None,
        };
        let (method, path) = (method.as_str().into(), path.as_str().into());
        let body_start = self.body_start.as_deref().map(Cow::Borrowed);
        Some(StoredRequestJson { method, path, headers: headers.collect::<Option<_>>()?, json, text, body_start })
    }

    fn from_json(json: StoredRequestJson<'_>) -> Option<Self> {
        let method = Method::from_bytes(json.method.as_bytes()).ok()?;
        let mut request = VendorRequest::new(VendorRequestKind::Update, method, json.path);
        for (name, value) in &json.headers {
            request.headers.push((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?));
        }
        let body = json.json.map(|json| json.as_str().to_owned()).or(json.text.map(Cow::into_owned));
        request.body = body.map(Bytes::from);
        Some(Self { request, body_start: json.body_start.map(Cow::into_owned) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_request_has_its_body_byte_for_byte() {
        for body in [r#"{"Costs":1.10,"Name":"\"\u00e9\""}"#, " {}", "a=b&c=d", r#""text""#, "null", ""] {
            let request = VendorRequest::new(VendorRequestKind::Update, Method::PUT, "/p?q=1").body(body.to_owned());
            let json = serde_json::to_string(&StoredRequest::new(request)).expect("JSON");
            let restored: StoredRequest = serde_json::from_str(&json).expect("a request");
            assert_eq!(restored.restore(VendorRequestKind::Update).body.as_deref(), Some(body.as_bytes()), "{json}");
        }
    }

    #[test]
    fn a_body_that_ends_with_the_members_is_stored_without_them() {
        let members =
            RawObject::parse(&Bytes::from_static(br#"{"Name":"\u00e9","a\"b":[1, 1.10]}"#)).expect("an object");
        let end = r#""Name":"\u00e9","a\"b":[1, 1.10]}"#;
        for (body, is_shared) in [
            ([r#"{"ID":"7","#, end].concat(), true),
            (["{", end].concat(), true),
            ([r#"{"x":{"#, end, "}"].concat(), false),
        ] {
            let request = VendorRequest::new(VendorRequestKind::Update, Method::PUT, "/p").body(body.clone());
            let json = serde_json::to_string(&StoredRequest::new(request).share_members(Some(&members))).expect("JSON");
            assert_eq!(!json.contains("1.10"), is_shared, "{json}");
            let mut restored: StoredRequest = serde_json::from_str(&json).expect("a request");
            assert_eq!(restored.complete_body(None).is_none(), is_shared, "{json}");
            let stored = serde_json::to_string(&members).expect("JSON");
            let members: RawObject = serde_json::from_str(&stored).expect("an object");
            assert!(restored.complete_body(Some(&members)).is_some());
            assert_eq!(restored.restore(VendorRequestKind::Update).body.as_deref(), Some(body.as_bytes()), "{json}");
        }
    }
}
