//! The syntax of `traceparent` and `tracestate` (W3C Trace Context, level 2).

use actix_web::http::header::HeaderName;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(super) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Flag bit 0: the sender records the trace.
pub(super) const SAMPLED: u8 = 0b01;
/// Flag bit 1: the trace id is random.
pub(super) const RANDOM: u8 = 0b10;

/// §3.3.1.1: a longer list need not be passed on.
const MAX_STATE_MEMBERS: usize = 32;
/// A longer list is dropped as a whole; §3.3.1.5 requires at least 512.
const MAX_STATE_LEN: usize = 4096;

/// A parsed `traceparent`.
pub(super) struct TraceParent<'l> {
    /// 32 lower-case hexadecimal digits.
    pub(super) trace_id: &'l str,
    /// The span of the sender.
    pub(super) parent_id: u64,
    /// [`SAMPLED`] and [`RANDOM`]; other bits are cleared.
    pub(super) flags: u8,
}

/// Parses a `traceparent` (§3.2). A version above 00 may have more than four fields.
pub(super) fn parse_traceparent(value: &str) -> Option<TraceParent<'_>> {
    let value = value.trim_matches([' ', '\t']);
    let mut fields = value.splitn(5, '-');
    let (version, trace_id, parent, flags, rest) =
        (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next());
    let is_hex =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let is_nonzero = |text: &str| text.bytes().any(|byte| byte != b'0');
    let is_well_formed = is_hex(version, 2) && is_hex(trace_id, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let is_known_version = version != "ff" && (version != "00" || rest.is_none());
    if !(is_well_formed && is_known_version && is_nonzero(trace_id) && is_nonzero(parent)) {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    Some(TraceParent { trace_id, parent_id: u64::from_str_radix(parent, 16).ok()?, flags: flags & (SAMPLED | RANDOM) })
}

/// Writes a `traceparent` of version 00.
pub(super) fn format_traceparent(trace_id: &str, parent_id: &str, flags: u8) -> String {
    let flags = match flags & (SAMPLED | RANDOM) {
        0b00 => "-00",
        0b01 => "-01",
        0b10 => "-02",
        _ => "-03",
    };
    ["00-", trace_id, "-", parent_id, flags].concat()
}

/// Joins the `tracestate` fields into one list; `None` if it may not be passed on (§3.3).
pub(super) fn join_tracestate(values: &[&str]) -> Option<String> {
    let members: Vec<&str> = values
        .iter()
        .flat_map(|value| value.split(','))
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .collect();
    let is_valid = members.len() <= MAX_STATE_MEMBERS
        && members.iter().all(|member| {
            member.split_once('=').is_some_and(|(key, value)| is_state_key(key) && is_state_value(value))
        });
    let joined = members.join(",");
    (is_valid && joined.len() <= MAX_STATE_LEN).then_some(joined)
}

fn is_state_key(key: &str) -> bool {
    let is_allowed = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@');
    key.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && key.len() <= 256
        && key.bytes().all(is_allowed)
}

fn is_state_value(value: &str) -> bool {
    !value.is_empty() && value.len() <= 256 && value.bytes().all(|byte| matches!(byte, 0x20..=0x7e) && byte != b'=')
}

/// Generates a trace or span id, which must not be zero. §7.1 requires randomness, not secrecy.
pub(super) fn random_id<const N: usize>() -> [u8; N] {
    loop {
        let mut bytes = [0; N];
        fastrand::fill(&mut bytes);
        if bytes != [0; N] {
            return bytes;
        }
    }
}
