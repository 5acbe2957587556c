//! The sample data definitions, their fragments and the API token.

use serde_json::{Map, Value, json};

use super::class::Column;
use crate::sandbox::common::members::{members, number};

/// The API token, which is exchanged for access tokens.
pub const API_TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.sandbox-api-token.signature";

/// The data definition (class) of categories.
pub const CATEGORY_CLASS: &str = "SPSScCategoryClassBase";
/// The data definition of activities.
pub const ACTIVITY_CLASS: &str = "SPSActivityClassBase";

/// "Facility Management", a category with `TimeStamp` [`FACILITY_TIMESTAMP`].
pub const FACILITY_ID: &str = "7777780d-71a0-df11-708c-000c2968299e";
/// The first `TimeStamp` of "Facility Management".
pub const FACILITY_TIMESTAMP: &str = "AAAAAEa7mU4=";
/// "Hardware", a category with numbers whose textual form is easily lost.
pub const HARDWARE_ID: &str = "7777780d-71a0-df11-708c-000c2968299f";
/// "Software", a category without values.
pub const SOFTWARE_ID: &str = "0a1b2c3d-0001-4000-8000-0000000000aa";
/// "Printer is on fire", an activity.
pub const PRINTER_ID: &str = "0a1b2c3d-0002-4000-8000-0000000000bb";

/// The counter of [`FACILITY_TIMESTAMP`]; those of the other samples are smaller.
pub(super) const FIRST_COUNTER: u64 = 0x46bb_994e;

pub(super) fn columns(class: &str) -> Vec<Column> {
    let column = |name, kind, localizable, mandatory| Column { name, kind, localizable, mandatory };
    let common = [
        column("Name", "String", false, true),
        column("Description", "String", true, false),
        column("Hidden", "Boolean", false, false),
        column("Position", "Int32", false, false),
        column("End", "DateTime", false, false),
        column("State", "Int32", false, false),
    ];
    let specific = match class {
        CATEGORY_CLASS => vec![
            column("DefaultSubject", "String", true, false),
            column("Parent", "Guid", false, false),
            column("Costs", "Decimal", false, false),
            column("ExternalNumber", "Decimal", false, false),
        ],
        _ => vec![column("Subject", "String", false, false), column("Category", "Guid", false, false)],
    };
    common.into_iter().chain(specific).collect()
}

/// The sample fragments: class, id, distance of the counter from [`FIRST_COUNTER`], attributes.
pub(super) fn fragments() -> Vec<(&'static str, &'static str, u64, Map<String, Value>)> {
    vec![
        (
            CATEGORY_CLASS,
            FACILITY_ID,
            0,
            members(json!({ "Name": "Facility Management", "DefaultSubject": "", "Description": "Facility Management",
                               "Hidden": false, "Position": 1 })),
        ),
        (
            CATEGORY_CLASS,
            HARDWARE_ID,
            1,
            members(json!({ "Name": "Hardware", "Description": "Things that can be dropped", "Position": 2,
                               "Costs": number("1.10"), "ExternalNumber": number("12345678901234567890"),
                               "End": "9999-12-31T23:59:59.997Z" })),
        ),
        (CATEGORY_CLASS, SOFTWARE_ID, 2, members(json!({ "Name": "Software" }))),
        (
            ACTIVITY_CLASS,
            PRINTER_ID,
            3,
            members(json!({ "Name": "TCK00001", "Subject": "Printer is on fire", "Category": HARDWARE_ID })),
        ),
    ]
}
