//! The sample schema: its fields and their validation.

use serde_json::{Map, Value, json};

/// One field of the schema.
struct Rule {
    name: &'static str,
    data_type: &'static str,
    required: bool,
    picklist: &'static [&'static str],
}

const fn rule(name: &'static str, data_type: &'static str, required: bool) -> Rule {
    Rule { name, data_type, required, picklist: &[] }
}

const RULES: &[Rule] = &[
    rule("First Name", "string", true),
    rule("Last Name", "string", true),
    rule("Email", "email", true),
    Rule { name: "Status", data_type: "picklist", required: false, picklist: &["Standard", "Premium"] },
    rule("Phone", "phone", false),
    rule("Credit Limit", "float", false),
    rule("Loyalty Points", "integer", false),
    rule("Newsletter", "boolean", false),
    rule("Customer Since", "date", false),
];

/// Longest text in characters, the vendor's default for new fields.
const MAX_TEXT_CHARS: usize = 500;

/// Whether the schema has a field of exactly this name.
pub(super) fn has_field(name: &str) -> bool {
    RULES.iter().any(|rule| rule.name == name)
}

/// The `_errors` of a record, `[{name, errors}]`; empty if all values are valid.
pub(super) fn find_errors(fields: &Map<String, Value>) -> Vec<Value> {
    RULES
        .iter()
        .filter_map(|rule| {
            let text = match fields.get(rule.name) {
                None | Some(Value::Null) if rule.required => "Field is required",
                None | Some(Value::Null) => return None,
                Some(value) => check_value(rule, value)?,
            };
            Some(json!({ "name": rule.name, "errors": [text] }))
        })
        .collect()
}

fn check_value(rule: &Rule, value: &Value) -> Option<&'static str> {
    let text = value.as_str();
    let fits = |check: fn(&str) -> bool| text.is_some_and(check);
    let (is_valid, error) = match rule.data_type {
        "integer" => (is_integer(value), "Value must be an integer"),
        "float" => (value.is_number(), "Value must be a number"),
        "boolean" => (value.is_boolean(), "Value must be true or false"),
        "email" => (fits(is_email), "Value is not a valid email address"),
        "phone" => (fits(is_phone), "Value is not a valid phone number"),
        "date" => (fits(is_date), "Value does not match the format MM/DD/YYYY"),
        "picklist" => (text.is_some_and(|text| rule.picklist.contains(&text)), "Value is not in the picklist"),
        _ => (fits(|text| (1..=MAX_TEXT_CHARS).contains(&text.chars().count())), "Value must have 1 to 500 characters"),
    };
    (!is_valid).then_some(error)
}

fn is_integer(value: &Value) -> bool {
    value.is_number() && !value.to_string().contains(['.', 'e', 'E'])
}

fn is_email(text: &str) -> bool {
    text.split_once('@').is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.contains('@') && domain.contains('.') && !domain.starts_with('.')
    })
}

fn is_phone(text: &str) -> bool {
    text.chars().any(|c| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || "+-() ".contains(c))
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('/').collect();
    let number = |part: &str, length: usize| {
        (part.len() == length && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<u32>().ok()).flatten()
    };
    let [month, day, year] = parts.as_slice() else { return false };
    matches!((number(month, 2), number(day, 2), number(year, 4)), (Some(1..=12), Some(1..=31), Some(_)))
}

/// The `fields` of the schema, as the vendor's page "Get schema" shows them.
pub(super) fn describe(added: Option<&str>) -> Vec<Value> {
    let describe = |(number, rule): (usize, &Rule)| {
        let picklist: Vec<Value> =
            rule.picklist.iter().map(|code| json!({ "code": code, "description": code })).collect();
        // The bounds of a text are lengths; the other fields have none.
        let bounds = (rule.data_type == "string").then_some((1, MAX_TEXT_CHARS));
        let data_type = if rule.data_type == "picklist" { "string" } else { rule.data_type };
        json!({
            "fieldId": format!("20240115104500456{number:030}"), "name": rule.name, "description": "", "active": true,
            "dataType": data_type, "isPrimaryKey": false, "isSortKey": false, "isRequired": rule.required,
            "isMultivalue": false, "isPII": rule.name != "Status", "classifiers": [],
            "min": bounds.map(|(min, _)| min), "max": bounds.map(|(_, max)| max),
            "validationRules": [], "allowedBooleanValues": null,
            "picklistType": if rule.picklist.is_empty() { Value::Null } else { json!("static") },
            "staticPicklist": picklist, "dataDomainId": null,
            "dateFormat": if rule.data_type == "date" { json!("MM/DD/YYYY") } else { Value::Null },
            "dateSeparator": if rule.data_type == "date" { json!("/") } else { Value::Null },
            "timeFormat": null
        })
    };
    let any = |name| json!({ "fieldId": "20240115104500456999", "name": name, "active": true, "dataType": "json" });
    RULES.iter().enumerate().map(describe).chain(added.map(any)).collect()
}
