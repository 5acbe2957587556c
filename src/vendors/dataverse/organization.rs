//! One organization: its address and credentials, what is known of its tables, and how its rows are
//! read and written.

use actix_web::http::uri::PathAndQuery;
use jiff::Timestamp;
use serde_json::Value;

use super::row::{PrimaryKey, Row, parse_page, parse_row, read_row};
use super::tables::TableCache;
use super::{lookups, protocol};
use crate::record::{
    FieldError, JsonObjectWriter, RawJson, RecordId, SchemaRule, Secret, VendorError, VendorRecord, percent_encode,
};
use crate::transport::{Transport, VendorResponse};
use crate::vendors::common::{field_error, parse_guid, text_member, unparseable_response};
use crate::vendors::factory::{BASE_URL, InvalidSetting, Settings, require_setting};
use crate::vendors::filter::{FieldFilter, ValueForm};

/// The longest text in a search.
const MAX_SEARCH_TEXT: usize = 200;
/// The longest path of a next link that is followed.
const MAX_NEXT_PATH: usize = 8000;

/// One organization (environment).
pub(super) struct Dataverse {
    /// The organization's address, without a slash at its end.
    pub(super) base_url: String,
    pub(super) token_path: String,
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) tables: TableCache,
}

impl Dataverse {
    /// # Errors
    /// A setting that is missing.
    pub(super) fn new(settings: &Settings) -> Result<Self, InvalidSetting> {
        require_setting(settings, "authority")?;
        let tenant_id = require_setting(settings, "tenant_id")?;
        Ok(Self {
            base_url: require_setting(settings, BASE_URL)?.expose().to_owned(),
            token_path: format!("/{}/oauth2/v2.0/token", percent_encode(tenant_id.expose())),
            client_id: require_setting(settings, "client_id")?.expose().to_owned(),
            client_secret: require_setting(settings, "client_secret")?,
            tables: TableCache::default(),
        })
    }

    /// The row of a response. Where the key column is not known, the key itself identifies it.
    pub(super) fn read_one(&self, id: &RecordId, response: &VendorResponse) -> Result<Row, VendorError> {
        let column = self.tables.key_column(id.collection());
        let primary = match &column {
            Some(column) => PrimaryKey::Named(column),
            None => PrimaryKey::Guessed { set: id.collection(), key: Some(id.key()) },
        };
        let row = parse_row(&response.body, primary)?;
        if row.key.as_deref().is_some_and(|key| key != id.key()) {
            return Err(unparseable_response("another row than the requested one"));
        }
        if row.record.version.is_none() {
            return Err(unparseable_response("a row without @odata.etag"));
        }
        Ok(row)
    }

    /// The path of the next page, if the link leads to this organization's list.
    fn next_path(&self, link: &str, set: &str) -> Result<String, VendorError> {
        let origin = link.get(..self.base_url.len()).filter(|origin| origin.eq_ignore_ascii_case(&self.base_url));
        let path = origin.and_then(|_| link.get(self.base_url.len()..)).filter(|path| is_list_path(path, set));
        let path = path.filter(|path| PathAndQuery::try_from(*path).is_ok());
        path.map(str::to_owned)
            .ok_or_else(|| unparseable_response("an @odata.nextLink that leads elsewhere than to the list's next page"))
    }

    /// A page of rows with their keys.
    pub(super) async fn load_page(
        &self,
        transport: &dyn Transport,
        set: &str,
        path: String,
        size: usize,
    ) -> Result<(Vec<(String, VendorRecord)>, Option<String>), VendorError> {
        let page = parse_page(&transport.send(protocol::list_request(path, size)).await?.body)?;
        let column = self.tables.key_column(set);
        let primary = match &column {
            Some(column) => PrimaryKey::Named(column),
            None => PrimaryKey::Guessed { set, key: None },
        };
        let with_key = |row: &RawJson| {
            let members = row.to_object().map_err(unparseable_response);
            match members.and_then(|members| read_row(members, primary)) {
                Ok(Row { key: Some(key), record }) => Ok((key, record)),
                Ok(Row { key: None, .. }) => Err(unparseable_response("a row without its primary key")),
                Err(fault) => {
                    let key = text_member(row, |name| primary.is_column(name)).and_then(|text| parse_guid(&text));
                    let record = VendorRecord::unreadable(&fault);
                    key.map(|key| (key, record)).ok_or(fault)
                }
            }
        };
        let rows = page.rows.iter().map(with_key).collect::<Result<_, _>>()?;
        let next = page.next_link.map(|link| self.next_path(&link, set)).transpose()?;
        Ok((rows, next))
    }

    /// The body of a write: columns as they are, lookups under their navigation properties.
    pub(super) fn write_body<'m>(
        &self,
        set: &str,
        members: impl Iterator<Item = (&'m str, &'m RawJson)>,
    ) -> Result<JsonObjectWriter, Vec<FieldError>> {
        let known = self.tables.lookups(set);
        let (mut body, mut errors) = (JsonObjectWriter::new(), Vec::new());
        for (name, value) in members {
            if let Some(error) = check_member(name, value) {
                errors.push(error);
            } else if lookups::attribute_of(name).is_none() {
                body = body.raw(name, value.as_str());
            } else {
                match lookups::write(body, name, value, known.as_deref()) {
                    Ok(written) => body = written,
                    Err(error) => {
                        errors.push(error);
                        body = JsonObjectWriter::new();
                    }
                }
            }
        }
        if errors.is_empty() { Ok(body) } else { Err(errors) }
    }
}

/// What is wrong with a member, whatever its table.
pub(super) fn check_member(name: &str, value: &RawJson) -> Option<FieldError> {
    if !protocol::is_property(name) {
        let detail = "is not the name of a column; lookups have names such as _primarycontactid_value";
        return Some(field_error(name, detail).rule(SchemaRule::Unknown));
    }
    if lookups::attribute_of(name).is_some() {
        return lookups::check_value(name, value);
    }
    let is_nested = value.as_str().trim_start().starts_with(['{', '[']);
    let detail = "must be a text, a number, true, false or null: a column holds one value";
    is_nested.then(|| field_error(name, detail).rule(SchemaRule::Type))
}

/// Whether a path leads to a page of a set's list.
pub(super) fn is_list_path(path: &str, set: &str) -> bool {
    let query = path.strip_prefix(protocol::API).and_then(|rest| rest.strip_prefix(set));
    path.len() <= MAX_NEXT_PATH && query.is_some_and(|query| query.starts_with('?'))
}

/// The condition of `$filter` for a condition whose column's type is known; `None` for a value by
/// which no search is possible or safe.
pub(super) fn typed_condition(filter: &FieldFilter) -> Option<String> {
    let literal = match (&filter.value, filter.form) {
        (Value::Number(_), _) => filter.plain_number()?.to_owned(),
        // None has quotes. All were parsed.
        (Value::String(text), ValueForm::Guid | ValueForm::Date | ValueForm::Time) => text.clone(),
        _ => return condition((&filter.field, &filter.value)),
    };
    protocol::is_property(&filter.field).then(|| format!("{} eq {literal}", filter.field))
}

/// A condition of `$filter`; `None` for a value by which no search is possible or safe.
pub(super) fn condition((name, value): (&String, &Value)) -> Option<String> {
    let literal = match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => {
            let is_plain = !text.is_empty() && text.len() <= MAX_SEARCH_TEXT && !text.contains(char::is_control);
            if !is_plain {
                return None;
            }
            match lookups::attribute_of(name) {
                Some(_) => lookups::to_read_form(value)?.as_str()?.to_owned(),
                // Times have no quotes, and the column's type, which is not known here, decides.
                None if text.parse::<Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok() => return None,
                None => format!("'{}'", text.replace('\'', "''")),
            }
        }
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    protocol::is_property(name).then(|| format!("{name} eq {literal}"))
}
