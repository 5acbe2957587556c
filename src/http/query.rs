//! The query of a request: known parameters, each at most once (http-rules 178, contract 4).

use std::borrow::Cow;
use std::str::FromStr;

use jiff::Timestamp;

use super::request_target::percent_decode;
use crate::journal::SortOrder;
use crate::problem::{Problem, ProblemKind};
use crate::record::{decode_cursor, encode_cursor};
use crate::record::{percent_encode, percent_encode_id};

const DEFAULT_LIMIT: usize = 100;
const MAX_LIMIT: usize = 1000;
const TIME_FORM: &str = "an RFC 3339 time such as 2026-11-21T10:15:30Z (a + is written %2B)";

/// The parameters of a request, decoded, in their order.
#[derive(Debug, Default)]
pub(super) struct QueryParams {
    params: Vec<(Cow<'static, str>, String)>,
    /// The path that they belong to: a cursor of another path is none of this query.
    path: String,
}

/// Stands for `filter[NAME]` among the known names.
pub(super) const FILTER: &str = "filter[]";

impl QueryParams {
    /// Parses a query; `known` are the names that it may have.
    ///
    /// # Errors
    /// 400 for an unknown name, a repeated name, an empty value, or what cannot be decoded.
    pub(super) fn parse(raw: &str, known: &'static [&'static str]) -> Result<Self, Problem> {
        let mut sent: Vec<(Cow<'static, str>, String)> = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = percent_decode(&name.replace('+', " "), "query")?.into_owned();
            let value = percent_decode(&value.replace('+', " "), "query")?.into_owned();
            // `filter[]` itself names no member: taken for a filter, it would be silently ignored.
            let name = match known.iter().find(|known| **known == name && **known != FILTER) {
                Some(known) => Cow::Borrowed(*known),
                None if known.contains(&FILTER) && filtered_member(&name).is_some() => Cow::Owned(name),
                None => return Err(unknown_parameter(&name, known)),
            };
            if value.is_empty() {
                return Err(bad_query(&format!(
                    "the query parameter {name} has no value; give it one or leave it out"
                )));
            }
            if sent.iter().any(|(earlier, _)| *earlier == name) {
                return Err(bad_query(&format!("the query parameter {name} was sent twice; send it once")));
            }
            sent.push((name, value));
        }
        Ok(Self { params: sent, path: String::new() })
    }

    /// The same parameters as those of a path, however that path is spelled.
    pub(super) fn of_path(mut self, path: &str) -> Self {
        self.path = percent_decode(path, "path").map_or_else(|_| path.to_owned(), Cow::into_owned);
        self
    }

    /// The members of `fields` in `filter[NAME]`, each with its value.
    pub(super) fn filters(&self) -> Vec<(&str, &str)> {
        self.params.iter().filter_map(|(name, value)| Some((filtered_member(name)?, value.as_str()))).collect()
    }

    /// A parameter's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.params.iter().find(|(sent, _)| *sent == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is one of a few words.
    ///
    /// # Errors
    /// 400; `words` says which there are.
    pub(super) fn parse_word<T>(
        &self,
        name: &str,
        words: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let wrong = || bad_query(&format!("the query parameter {name} must be one of {words}"));
        self.get(name).map(|word| parse(word).ok_or_else(wrong)).transpose()
    }

    /// `order`: `asc` (oldest first, the default) or `desc`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn order(&self) -> Result<SortOrder, Problem> {
        let order = self.parse_word("order", "asc, desc", |word| match word {
            "asc" => Some(SortOrder::Ascending),
            "desc" => Some(SortOrder::Descending),
            _ => None,
        })?;
        Ok(order.unwrap_or_default())
    }

    /// The times `since` and `until`.
    ///
    /// # Errors
    /// 400.
    pub(super) fn time_range(&self) -> Result<(Option<Timestamp>, Option<Timestamp>), Problem> {
        Ok((self.parse_param("since", TIME_FORM)?, self.parse_param("until", TIME_FORM)?))
    }

    /// A parameter of another type than text.
    ///
    /// # Errors
    /// 400; `form` says what would be right.
    pub(super) fn parse_param<T: FromStr>(&self, name: &str, form: &str) -> Result<Option<T>, Problem> {
        let wrong = |_| bad_query(&format!("the query parameter {name} must be {form}"));
        self.get(name).map(|text| text.parse().map_err(wrong)).transpose()
    }

    /// `limit`: 1..1000, 100 if it is absent.
    ///
    /// # Errors
    /// 400.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let sent = self.params.iter().find(|(name, _)| *name == "limit").map(|(_, value)| value.as_str());
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        match sent.map(|text| text.parse().ok().filter(|_| digits(text))) {
            None => Ok(DEFAULT_LIMIT),
            Some(Some(limit)) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(_) => Err(bad_query("the query parameter limit must be a whole number from 1 to 1000")),
        }
    }

    /// Where the page begins: the position in `cursor`, if the cursor came from this very query.
    ///
    /// # Errors
    /// 400.
    pub(super) fn decode_cursor<T>(&self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(cursor) = self.get("cursor") else { return Ok(None) };
        let position = decode_cursor(&self.cursor_scope(), cursor).and_then(|position| parse(&position));
        position
            .map(Some)
            .ok_or_else(|| bad_query("the cursor is not from this query; send `next` of the previous page unchanged"))
    }

    /// The cursor of the page of this query that begins at a position.
    pub(super) fn encode_cursor(&self, position: &str) -> String {
        encode_cursor(&self.cursor_scope(), position)
    }

    /// The path, and all parameters but the cursor, sorted.
    fn cursor_scope(&self) -> Vec<&str> {
        let mut kept: Vec<_> = self.params.iter().filter(|(name, _)| *name != "cursor").collect();
        kept.sort_unstable();
        let params = kept.into_iter().flat_map(|(name, value)| [name.as_ref(), value.as_str()]);
        std::iter::once(self.path.as_str()).chain(params).collect()
    }

    /// `Link` to the next page: the same query with another cursor (RFC 8288).
    pub(super) fn next_link_header(&self, path: &str, cursor: Option<&str>) -> Option<String> {
        let cursor = cursor?;
        let kept = self.params.iter().filter(|(name, _)| *name != "cursor");
        let mut pairs: Vec<String> =
            kept.map(|(name, value)| format!("{}={}", encode_name(name), percent_encode_id(value))).collect();
        pairs.push(format!("cursor={}", percent_encode_id(cursor)));
        Some(format!("<{path}?{}>; rel=\"next\"", pairs.join("&")))
    }
}

/// NAME of `filter[NAME]`.
fn filtered_member(name: &str) -> Option<&str> {
    name.strip_prefix("filter[")?.strip_suffix(']').filter(|member| !member.is_empty())
}

/// Brackets and the member's name may not stand in a query as they are (RFC 3986 §3.4).
fn encode_name(name: &str) -> Cow<'_, str> {
    if filtered_member(name).is_some() { percent_encode(name).to_string().into() } else { name.into() }
}

fn unknown_parameter(name: &str, known: &[&str]) -> Problem {
    let known: Vec<&str> = known.iter().map(|known| if *known == FILTER { "filter[NAME]" } else { known }).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    bad_query(&format!("the query parameter {name:?} is unknown here; known: {known}"))
}

fn bad_query(detail: &str) -> Problem {
    ProblemKind::MalformedRequest.with_detail(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["collection", "limit", "cursor"];

    #[test]
    fn a_filter_without_a_name_is_rejected() {
        let known = &["limit", FILTER];
        let query = QueryParams::parse("filter%5Ba%5D=x", known).expect("a query");
        assert_eq!(query.filters(), [("a", "x")]);
        assert!(QueryParams::parse("filter%5B%5D=x", known).is_err());
    }

    #[test]
    fn known_parameters_are_decoded_and_unknown_ones_are_rejected() {
        let query = QueryParams::parse("collection=a%3Ab+c&&limit=5", KNOWN).expect("a query");
        assert_eq!(query.get("collection"), Some("a:b c"));
        assert_eq!(query.limit(), Ok(5));
        for wrong in [
            "x=1",
            "limit=",
            "collection",
            "limit=1&limit=1",
            "collection=%zz",
            "collection=%00",
            "Limit=1",
            "%6Cimit=1&limit=2",
        ] {
            assert!(QueryParams::parse(wrong, KNOWN).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_limit_is_a_whole_number_in_bounds() {
        for (raw, expected) in [("", Some(100)), ("limit=1", Some(1)), ("limit=1000", Some(1000))] {
            assert_eq!(QueryParams::parse(raw, KNOWN).expect("a query").limit().ok(), expected);
        }
        for wrong in ["0", "1001", "-1", "%2B5", "1.0", "NaN", "99999999999999999999999"] {
            assert!(QueryParams::parse(&format!("limit={wrong}"), KNOWN).expect("a query").limit().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_cursor_serves_only_the_query_and_the_path_it_came_from() {
        let query = |raw: &str, path: &str| QueryParams::parse(raw, KNOWN).expect("a query").of_path(path);
        let cursor = query("limit=5&collection=a", "/records/crm").encode_cursor("7");
        let decode = |raw: &str, path: &str| {
            let query = query(&format!("{raw}cursor={}", percent_encode(&cursor)), path);
            query.decode_cursor(|position| Some(position.to_owned())).ok().flatten()
        };
        for same in ["/records/crm", "/records/c%72m"] {
            assert_eq!(decode("collection=a&limit=5&", same).as_deref(), Some("7"), "{same}");
        }
        for (raw, path) in [
            ("collection=a&limit=5&", "/records/crm2"),
            ("collection=a&limit=5&", "/models/contact/crm"),
            ("collection=b&limit=5&", "/records/crm"),
            ("", "/records/crm"),
        ] {
            assert_eq!(decode(raw, path), None, "{raw} {path}");
        }
    }

    #[test]
    fn the_next_link_keeps_the_query_and_cannot_be_split() {
        let query = QueryParams::parse("collection=a%3Ab%0&limit=5&cursor=old".replace("%0", "%3E").as_str(), KNOWN)
            .expect("a query");
        let link = query.next_link_header("/records/crm", Some("n\r\n>x")).expect("a link");
        assert_eq!(link, "</records/crm?collection=a:b%3E&limit=5&cursor=n%0D%0A%3Ex>; rel=\"next\"");
        assert_eq!(query.next_link_header("/records/crm", None), None);
    }
}
