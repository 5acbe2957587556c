//! The sample tables, their rows and the credentials of an application.

use serde_json::{Map, Value, json};

use super::columns::{Column, ColumnType};
use super::table::Table;
use crate::sandbox::common::members::{members, number};

/// The directory (tenant) of the application.
pub const TENANT_ID: &str = "11aa11aa-0000-4000-8000-22bb22bb22bb";
/// The application's id.
pub const CLIENT_ID: &str = "33cc33cc-0000-4000-8000-44dd44dd44dd";
/// The application's secret.
pub const CLIENT_SECRET: &str = "sandbox~dataverse+secret/0123456789";

/// The entity set of companies.
pub const ACCOUNTS: &str = "accounts";
/// The entity set of people.
pub const CONTACTS: &str = "contacts";
/// The entity set of a custom table without optimistic concurrency.
pub const NOTES: &str = "new_notes";

/// "Fourth Coffee", an account with many values.
pub const FOURTH_COFFEE_ID: &str = "00aa00aa-bb11-cc22-dd33-44ee44ee44ee";
/// "Litware", an account with numbers whose textual form is easily lost.
pub const LITWARE_ID: &str = "00aa00aa-bb11-cc22-dd33-44ee44ee44ef";
/// "A. Datum", an account without values.
pub const A_DATUM_ID: &str = "00aa00aa-bb11-cc22-dd33-44ee44ee44f0";
/// "Yvonne McKay", a contact.
pub const YVONNE_ID: &str = "55bb55bb-0000-4000-8000-66cc66cc66c1";
/// "Maria Campbell", a contact.
pub const MARIA_ID: &str = "55bb55bb-0000-4000-8000-66cc66cc66c2";
/// A row of the table without optimistic concurrency.
pub const FIRST_NOTE_ID: &str = "77dd77dd-0000-4000-8000-88ee88ee88e1";
/// The user who makes every change.
pub(super) const USER_ID: &str = "99ff99ff-0000-4000-8000-aa00aa00aa00";

/// The row version before the samples.
pub(super) const FIRST_VERSION: u64 = 1_234_500;

const INDUSTRIES: &[(i64, &str)] = &[(1, "Accounting"), (7, "Consulting"), (22, "Food and Tobacco Processing")];
const REASONS: &[(i64, &str)] = &[(1, "Active"), (2, "Inactive")];

pub(super) fn tables() -> Vec<Table> {
    let table = |name, set, title, key, compares_versions, columns: Vec<Column>| Table {
        name,
        set,
        title,
        key,
        compares_versions,
        columns: columns.into_iter().chain(common_columns()).collect(),
        rows: Vec::new(),
    };
    vec![
        table("account", ACCOUNTS, "Account", "accountid", true, account_columns()),
        table("contact", CONTACTS, "Contact", "contactid", true, contact_columns()),
        table(
            "new_note",
            NOTES,
            "Note of ours",
            "new_noteid",
            false,
            vec![required_column("new_name", ColumnType::Text(100)), column("new_text", ColumnType::Memo(2000))],
        ),
    ]
}

fn column(name: &'static str, kind: ColumnType) -> Column {
    Column { name, kind, required: false, computed: false }
}

fn required_column(name: &'static str, kind: ColumnType) -> Column {
    Column { required: true, ..column(name, kind) }
}

fn computed_column(name: &'static str, kind: ColumnType) -> Column {
    Column { computed: true, ..column(name, kind) }
}

fn common_columns() -> [Column; 4] {
    [
        computed_column("createdon", ColumnType::DateTime),
        computed_column("modifiedon", ColumnType::DateTime),
        computed_column("modifiedby", ColumnType::Lookup(&[("modifiedby", "systemusers")])),
        computed_column("versionnumber", ColumnType::RowVersion),
    ]
}

fn account_columns() -> Vec<Column> {
    vec![
        required_column("name", ColumnType::Text(160)),
        column("description", ColumnType::Memo(2000)),
        column("telephone1", ColumnType::Text(50)),
        column("numberofemployees", ColumnType::Integer(0, 1_000_000_000)),
        column("revenue", ColumnType::Decimal),
        column("creditonhold", ColumnType::Boolean),
        column("industrycode", ColumnType::Choice(INDUSTRIES)),
        column("lastonholdtime", ColumnType::DateTime),
        column("statuscode", ColumnType::Status(REASONS)),
        column("primarycontactid", ColumnType::Lookup(&[("primarycontactid", CONTACTS)])),
        column("parentaccountid", ColumnType::Lookup(&[("parentaccountid", ACCOUNTS)])),
    ]
}

fn contact_columns() -> Vec<Column> {
    const CUSTOMERS: &[(&str, &str)] =
        &[("parentcustomerid_account", ACCOUNTS), ("parentcustomerid_contact", CONTACTS)];
    vec![
        column("firstname", ColumnType::Text(50)),
        required_column("lastname", ColumnType::Text(50)),
        column("emailaddress1", ColumnType::Text(100)),
        column("statuscode", ColumnType::Status(REASONS)),
        column("parentcustomerid", ColumnType::Lookup(CUSTOMERS)),
    ]
}

/// The sample rows: set, key, columns under the names that a read shows.
pub(super) fn rows() -> Vec<(&'static str, &'static str, Map<String, Value>)> {
    vec![
        (
            CONTACTS,
            YVONNE_ID,
            members(
                json!({ "firstname": "Yvonne", "lastname": "McKay", "emailaddress1": "yvonne@example.com", "_parentcustomerid_value": FOURTH_COFFEE_ID }),
            ),
        ),
        (CONTACTS, MARIA_ID, members(json!({ "firstname": "Maria", "lastname": "Campbell" }))),
        (
            ACCOUNTS,
            FOURTH_COFFEE_ID,
            members(json!({ "name": "Fourth Coffee", "description": "Roasts coffee", "telephone1": "555-0150",
                            "numberofemployees": 12, "revenue": number("100000.10"), "creditonhold": false,
                            "industrycode": 22, "_primarycontactid_value": YVONNE_ID })),
        ),
        (
            ACCOUNTS,
            LITWARE_ID,
            members(
                json!({ "name": "Litware", "description": "Sells bulbs", "revenue": number("1.10"), "numberofemployees": 7,
                            "lastonholdtime": "2024-05-01T00:00:00Z" }),
            ),
        ),
        (ACCOUNTS, A_DATUM_ID, members(json!({ "name": "A. Datum", "description": null }))),
        (NOTES, FIRST_NOTE_ID, members(json!({ "new_name": "First note", "new_text": "As it was" }))),
    ]
}
