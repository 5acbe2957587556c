//! How one vendor call is carried safely.
//!
//! A call goes through the layers of [`stack`] and comes back as a reply that is a success, or as a [`Fault`] that was judged
//! once, where the reply was read. Nothing here knows a record or a caller.

mod attempt;
mod breaker;
mod client;
mod limit;
mod pace;
mod retry;
mod retry_after;
mod scrub;
pub mod stack;
mod tcp;
#[cfg(test)]
mod testing;
mod tls;
mod token;
pub mod trace;

use std::time::Duration;

use actix_web::http::Method;
use actix_web::http::header::{HeaderName, HeaderValue};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::Instant;

use self::trace::CallTrace;
pub use crate::record::CallName;
use crate::record::Fault;
pub use breaker::{CircuitState, LastFailure};
pub use client::fetch;
pub use stack::Health;
pub use stack::{Stack, StackError, StackSettings};

/// One call to a vendor, as an adapter writes it; signing, deadline and tracing are added on the way.
#[derive(Clone)]
pub struct Call {
    /// Which call: label, and whether it may be repeated blindly.
    pub name: CallName,
    /// HTTP method.
    pub method: Method,
    /// Path and query after the configured `base_url`, beginning with `/`, percent-encoded.
    pub path: String,
    /// Headers of the vendor's protocol (never the caller's). Secrets are added by [`Vendor::sign`] only.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body, already in the vendor's form. `None` = no body and no Content-Type.
    pub body: Option<Bytes>,
    /// When the caller's patience ends. The call's own timeout applies as well. Set by the gateway.
    pub deadline: Option<Instant>,
    /// The place of this very call in the trace of its request. Set by the gateway.
    pub trace: CallTrace,
    /// Sign-in calls are not signed.
    pub signed: bool,
}

impl Call {
    /// A call with no headers and no body.
    #[must_use]
    pub fn new(name: CallName, method: Method, path: impl Into<String>) -> Self {
        Self {
            name,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: None,
            deadline: None,
            trace: CallTrace::default(),
            signed: name != CallName::SignIn,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Adds a body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }
}

/// The body is left out: it holds field values and, on signing in, the secret. Header values that are secret print as such.
impl std::fmt::Debug for Call {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Call")
            .field("name", &self.name)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &self.headers)
            .field("body_bytes", &self.body.as_ref().map(Bytes::len))
            .finish_non_exhaustive()
    }
}

/// What a vendor answered, read to its end.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, as sent; empty if absent.
    pub content_type: String,
    /// `Retry-After`, seconds or date, translated to a duration from now.
    pub retry_after: Option<Duration>,
    /// The body, at most `max_vendor_body` bytes.
    pub body: Bytes,
}

/// Carries one vendor call. One method, so that a layer is 50 to 100 lines.
#[async_trait(?Send)]
pub trait Transport {
    /// Sends the call and gives back a reply that the vendor's own rules call a success.
    ///
    /// # Errors
    /// Everything else is a [`Fault`], judged by [`Vendor::fault`] or by the layer that met it.
    async fn send(&self, call: Call) -> Result<Reply, Fault>;
}

/// What stands between the stack's entrance and the wire. A layer may send the same call several times, so it borrows it:
/// nothing of a call is copied on the way but what is put on the wire.
#[async_trait(?Send)]
trait Layer {
    async fn carry(&self, call: &mut Call) -> Result<Reply, Fault>;
}

/// A vendor's token or key, ready for a header. Cannot be printed.
#[derive(Clone)]
pub struct Token {
    /// The header's value (or the part that is secret of it).
    pub secret: HeaderValue,
    /// When the vendor will stop to accept it; `None` = a static key.
    pub expires: Option<Instant>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Token").field("secret", &"…").field("expires", &self.expires).finish()
    }
}

/// What the layers must know of a vendor's protocol. Every adapter is one.
#[async_trait(?Send)]
pub trait Vendor: Send + Sync {
    /// Judges a reply: `None` = a success as the vendor documents it for this call.
    fn fault(&self, call: &Call, reply: &Reply) -> Option<Fault>;

    /// Puts the token (and static key headers) onto a call.
    fn sign(&self, call: &mut Call, token: &Token);

    /// Gets a token, over a transport that does not sign.
    ///
    /// # Errors
    /// [`FaultKind::CredentialsRejected`](crate::record::FaultKind::CredentialsRejected) when the vendor refuses them.
    async fn sign_in(&self, transport: &dyn Transport) -> Result<Token, Fault>;
}

/// A vendor's text made fit for a caller: one line, at most 300 characters, no markup, no control characters, no stack trace.
#[must_use]
pub fn clean_text(text: &str) -> Option<String> {
    const LONGEST: usize = 300;
    let is_a_page = text.trim_start().starts_with('<') || text.to_ascii_lowercase().contains("<html");
    if is_a_page {
        return None;
    }
    let text = without_markup(before_stack(text));
    let words = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    let short: String = words.collect::<Vec<_>>().join(" ").chars().take(LONGEST).collect();
    (!short.is_empty()).then_some(short)
}

/// What stands before a stack trace, of which nothing is for callers: `at Namespace.Method(` after a line's beginning or three
/// blanks, as .NET, Java and JavaScript write it. The class names in it must not be taken for the vendor's words either.
#[must_use]
pub fn before_stack(text: &str) -> &str {
    let begins = |(place, _): &(usize, &str)| {
        let before = text.get(..*place).unwrap_or_default();
        let blanks = before.trim_end_matches([' ', '\t']);
        let of_a_line = blanks.ends_with(['\n', '\r']) || before.ends_with('\t');
        !blanks.is_empty() && (of_a_line || before.len() - blanks.len() >= 3)
    };
    let end = text.match_indices("at ").find(begins).map_or(text.len(), |(place, _)| place);
    text.get(..end).unwrap_or_default()
}

/// Tags and comments left out; what follows the beginning of a script or a style, too.
fn without_markup(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, tag)) = rest.split_once('<') {
        plain.push_str(before);
        let is_tag = tag.starts_with(|first: char| first.is_ascii_alphabetic() || matches!(first, '/' | '!' | '?'));
        let name = tag.get(..6).unwrap_or(tag).to_ascii_lowercase();
        match tag.split_once('>') {
            _ if name.starts_with("script") || name.starts_with("style") => return plain,
            Some((_, after)) if is_tag => {
                plain.push(' ');
                rest = after;
            }
            _ => {
                plain.push('<');
                rest = tag;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vendors_text_is_cleaned() {
        for (said, told) in [
            ("the  value\r\nis wrong", Some("the value is wrong")),
            ("look at the value", Some("look at the value")),
            ("1 < 2 and 3 > 2", Some("1 < 2 and 3 > 2")),
            ("Value is <b>wrong</b><script>alert(1)</script>", Some("Value is wrong")),
            ("Oops <p>no</p><!-- x --><table><tr>", Some("Oops no")),
            ("<html><body>Sign in</body></html>", None),
            ("Sign in: <HTML>", None),
            ("boom: java.lang.X\n\tat com.foo.Bar(Bar.java:12)", Some("boom: java.lang.X")),
            ("Error: x\r\n at System.Web.Foo() in D:\\a\\b.cs:line 3", Some("Error: x")),
            ("Error: x\n  at f (/var/task/i.js:1:2)", Some("Error: x")),
            ("Conflict.   at Namespace.Class.Method()", Some("Conflict.")),
            ("at last", Some("at last")),
            ("\u{0}\u{1b}", None),
        ] {
            assert_eq!(clean_text(said).as_deref(), told, "{said}");
        }
        assert_eq!(clean_text(&"x".repeat(1000)).map(|text| text.len()), Some(300));
    }
}
