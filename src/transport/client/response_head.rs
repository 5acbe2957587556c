//! Corrects the heads of vendors' responses before awc reads them, so that it finds each body where
//! RFC 9112 §6.3 says that it is.
//!
//! awc takes an interim response (1xx) for the final one, waits for the chunks of a 204 that names
//! a transfer coding, and takes a body that ends with the connection for an empty one. It refuses
//! heads that a client must read: folded lines (§5.2) and one length given twice (§6.3). It refuses
//! white space before a colon, which old servers send and a proxy has to remove (§5.1). Beside a
//! transfer coding a length counts for nothing (§6.3 rule 3).

use std::ops::Range;

/// The longest head that is parsed; awc refuses a longer one.
const MAX_HEAD: usize = 64 * 1024;

/// What to do with the bytes received since the request was sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HeadAction {
    /// Receive more: the head has not ended.
    ReadMore,
    /// Drop this many bytes, an interim response (RFC 9110 §15.2). The next head follows.
    Skip(usize),
    /// Pass everything on as it is.
    Pass,
    /// Pass this head on instead of the first `length` bytes.
    Replace {
        /// The corrected head.
        head: Vec<u8>,
        /// The length of the received one.
        length: usize,
        /// Whether the body ends with the connection.
        until_close: bool,
    },
}

/// Decides what to do with a response that begins with these bytes.
pub(super) fn inspect_head(received: &[u8]) -> HeadAction {
    let Some(head) = Head::parse(received) else {
        return if received.len() < MAX_HEAD { HeadAction::ReadMore } else { HeadAction::Pass };
    };
    if let Some(normalized) = head.normalize() {
        return match inspect_head(&normalized) {
            HeadAction::Skip(_) => HeadAction::Skip(head.length),
            HeadAction::Replace { head: replaced, until_close, .. } => {
                HeadAction::Replace { head: replaced, length: head.length, until_close }
            }
            HeadAction::Pass | HeadAction::ReadMore => {
                HeadAction::Replace { head: normalized, length: head.length, until_close: false }
            }
        };
    }
    let has_coding = head.has("transfer-encoding");
    match head.status {
        Some(b"101") | None => HeadAction::Pass,
        Some([b'1', _, _]) => HeadAction::Skip(head.length),
        Some(b"204" | b"304") if has_coding || head.announces_body() => head.without_body(),
        Some(b"204" | b"304") => HeadAction::Pass,
        Some(_) if has_coding || head.has("content-length") || !head.is_http_1_1() => HeadAction::Pass,
        Some(_) => head.until_close(),
    }
}

/// A whole head.
struct Head<'r> {
    received: &'r [u8],
    /// The lines with their ends, without the empty one.
    lines: Vec<Range<usize>>,
    status: Option<&'r [u8]>,
    length: usize,
}

impl<'r> Head<'r> {
    /// `None` if the head has not ended.
    fn parse(received: &'r [u8]) -> Option<Self> {
        let mut lines = Vec::with_capacity(16);
        let mut start = 0;
        for at in memchr::memchr_iter(b'\n', received) {
            let line = received.get(start..at)?;
            if line.is_empty() || line == b"\r" {
                let status_line = lines.first().cloned().and_then(|range: Range<usize>| received.get(range));
                let status = status_line.and_then(|line| line.split(|byte| *byte == b' ').nth(1));
                let status = status.map(<[u8]>::trim_ascii).filter(|code| code.len() == 3);
                return Some(Self { received, lines, status, length: at + 1 });
            }
            lines.push(start..at + 1);
            start = at + 1;
        }
        None
    }

    fn line(&self, range: &Range<usize>) -> &'r [u8] {
        self.received.get(range.clone()).unwrap_or_default()
    }

    fn has(&self, name: &str) -> bool {
        self.lines.iter().any(|range| is_field(self.line(range), name))
    }

    fn is_http_1_1(&self) -> bool {
        self.received.starts_with(b"HTTP/1.1 ")
    }

    /// The head in the form that awc reads; `None` if it has that form, or no valid one.
    fn normalize(&self) -> Option<Vec<u8>> {
        let (status, fields) = self.lines.split_first()?;
        if !self.received.starts_with(b"HTTP/1.") || !fields.iter().any(|range| self.needs_normalizing(range)) {
            return None;
        }
        let mut unfolded: Vec<Vec<u8>> = Vec::with_capacity(fields.len());
        for line in fields.iter().map(|range| self.line(range).trim_ascii_end()) {
            match (line.first(), unfolded.last_mut()) {
                (Some(b' ' | b'\t'), Some(last)) => {
                    last.push(b' ');
                    last.extend_from_slice(line.trim_ascii());
                }
                (Some(b' ' | b'\t'), None) => return None,
                _ => unfolded.push(without_space_before_colon(line)),
            }
        }
        let lengths = lengths_of(&unfolded);
        let has_coding = unfolded.iter().any(|line| is_field(line, "transfer-encoding") && !is_identity(line));
        let first = lengths.first().filter(|first| lengths.iter().all(|length| length == *first)).cloned();
        if first.is_none() && !lengths.is_empty() && !has_coding {
            return None;
        }
        unfolded.retain(|line| !is_field(line, "content-length") && !is_identity(line));
        if let Some(length) = first.filter(|_| !has_coding) {
            unfolded.push([b"content-length: ", length.as_slice()].concat());
        }
        let mut normalized = self.line(status).trim_ascii_end().to_vec();
        for line in &unfolded {
            normalized.extend_from_slice(b"\r\n");
            normalized.extend_from_slice(line);
        }
        normalized.extend_from_slice(b"\r\n\r\n");
        (self.received.get(..self.length) != Some(normalized.as_slice())).then_some(normalized)
    }

    /// Whether awc misreads a head because of this line, or may do so.
    fn needs_normalizing(&self, range: &Range<usize>) -> bool {
        let line = self.line(range);
        let name_end = line.iter().position(|byte| matches!(byte, b':' | b' ' | b'\t' | b'\r' | b'\n'));
        let has_space = name_end.and_then(|at| line.get(at)).is_some_and(|byte| matches!(byte, b' ' | b'\t'));
        let is_second_length =
            || is_field(line, "content-length") && (self.count("content-length") > 1 || line.contains(&b','));
        let has_length_too =
            || is_field(line, "transfer-encoding") && (self.has("content-length") || is_identity(line));
        has_space || is_second_length() || has_length_too()
    }

    fn count(&self, name: &str) -> usize {
        self.lines.iter().filter(|range| is_field(self.line(range), name)).count()
    }

    /// Whether a length other than 0 is given.
    fn announces_body(&self) -> bool {
        let lengths = self.lines.iter().map(|range| self.line(range)).filter(|line| is_field(line, "content-length"));
        lengths.filter_map(|line| line.splitn(2, |byte| *byte == b':').nth(1)).any(|value| value.trim_ascii() != b"0")
    }

    /// Without the transfer coding and the length. The connection ends after it: a vendor may still
    /// send the last chunk, which must not become the beginning of the next response.
    fn without_body(&self) -> HeadAction {
        let kept = self.lines.iter().map(|range| self.line(range));
        let dropped = ["transfer-encoding", "content-length", "connection"];
        let kept = kept.filter(|line| !dropped.iter().any(|name| is_field(line, name)));
        let head = kept.chain([&b"connection: close\r\n\r\n"[..]]).collect::<Vec<_>>().concat();
        HeadAction::Replace { head, length: self.length, until_close: false }
    }

    /// As HTTP/1.0, whose bodies awc reads until the connection ends.
    fn until_close(&self) -> HeadAction {
        let rest = self.received.get(b"HTTP/1.1".len()..self.length).unwrap_or_default();
        HeadAction::Replace { head: [b"HTTP/1.0", rest].concat(), length: self.length, until_close: true }
    }
}

/// `Transfer-Encoding: identity`, which says nothing and was once in the RFC.
fn is_identity(line: &[u8]) -> bool {
    let value = line.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default().trim_ascii();
    is_field(line, "transfer-encoding") && value.eq_ignore_ascii_case(b"identity")
}

/// Every value of `Content-Length`, those of lists included.
fn lengths_of(lines: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let fields = lines.iter().filter(|line| is_field(line, "content-length"));
    let values = fields.filter_map(|line| line.splitn(2, |byte| *byte == b':').nth(1));
    values.flat_map(|value| value.split(|byte| *byte == b',')).map(|length| length.trim_ascii().to_vec()).collect()
}

fn without_space_before_colon(line: &[u8]) -> Vec<u8> {
    match line.iter().position(|byte| *byte == b':') {
        Some(at) => [line.get(..at).unwrap_or_default().trim_ascii_end(), line.get(at..).unwrap_or_default()].concat(),
        None => line.to_vec(),
    }
}

fn is_field(line: &[u8], name: &str) -> bool {
    let Some((field, rest)) = line.split_at_checked(name.len()) else { return false };
    field.eq_ignore_ascii_case(name.as_bytes()) && rest.trim_ascii_start().first() == Some(&b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(head: &str, length: usize, until_close: bool) -> HeadAction {
        HeadAction::Replace { head: head.as_bytes().to_vec(), length, until_close }
    }

    #[test]
    fn each_head_is_corrected_as_the_rfc_requires() {
        for (received, expected) in [
            ("", HeadAction::ReadMore),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", HeadAction::ReadMore),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", HeadAction::Pass),
            ("HTTP/1.1 200 OK\ncontent-length: 2\n\n{}", HeadAction::Pass),
            (
                "HTTP/1.1 200 OK\ncontent-length : 2\n\n{}",
                replaced("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", 36, false),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: b\r\n  c\r\n\td\r\ncontent-length: 2\r\n\r\n{}",
                replaced("HTTP/1.1 200 OK\r\nX-A: b c d\r\ncontent-length: 2\r\n\r\n", 74, false),
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\n{}",
                replaced("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", 41, false),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", HeadAction::Pass),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
                replaced("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 66, false),
            ),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n{}", replaced("HTTP/1.0 200 OK\r\n\r\n", 48, true)),
            ("HTTP/1.1 100 Continue\r\nX : y\r\n\r\n", HeadAction::Skip(32)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HeadAction::Pass),
            ("HTTP/1.0 200 OK\r\n\r\n{}", HeadAction::Pass),
            ("SSH-2.0-OpenSSH_9.6\r\n\r\n", HeadAction::Pass),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2", HeadAction::Skip(25)),
            ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", HeadAction::Skip(40)),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", HeadAction::Pass),
            ("HTTP/1.1 204 No Content\r\n\r\n", HeadAction::Pass),
            (
                "HTTP/1.1 204 No Content\r\nA: b\r\ntransfer-encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
                replaced("HTTP/1.1 204 No Content\r\nA: b\r\nconnection: close\r\n\r\n", 85, false),
            ),
            (
                "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}",
                replaced("HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n", 38, true),
            ),
            ("HTTP/1.1 500\r\n\r\n", replaced("HTTP/1.0 500\r\n\r\n", 16, true)),
        ] {
            assert_eq!(inspect_head(received.as_bytes()), expected, "{received:?}");
        }
    }

    #[test]
    fn an_endless_head_is_passed_on_for_awc_to_refuse() {
        assert_eq!(inspect_head(&vec![b'x'; MAX_HEAD]), HeadAction::Pass);
    }
}
