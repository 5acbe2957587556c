//! The sample dataset and its credentials.

use serde_json::{Map, Value, json};

use crate::sandbox::common::members::{members, number};

/// The application client's id.
pub const CLIENT_ID: &str = "sandbox-client";
/// The application client's secret.
pub const CLIENT_SECRET: &str = "sandbox-secret-of-the-application-client";

/// The only business area.
pub const BUSINESS_AREA_ID: &str = "202401151030001234a5b6c7d8e9f0a1b2c3d4e5f6g7h8i";
/// The name of the business area, for searches.
pub const BUSINESS_AREA_NAME: &str = "Sales";
/// The only schema.
pub const SCHEMA_ID: &str = "20240115104500456g2b3c4d5e6f7a8b9c0d1e2f3a4b5c6";
/// The schema's name.
pub const SCHEMA_NAME: &str = "Customer";
/// The only dataset.
pub const DATASET_ID: &str = "20240925110000789h3c4d5e6f7a8b9c0d1e2f3g8a5b6c7";
/// The dataset's name.
pub const DATASET_NAME: &str = "Customers";

/// Ada Lovelace, with valid values only.
pub const ADA_ID: &str = "20240601090000001a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5";
/// Grace Hopper, with a decimal that ends in 0 and an integer of 20 digits.
pub const GRACE_ID: &str = "20240601090000002b2c3d4e5f6a7b8c9d0e1f2a3b4c5d6";
/// Alan Turing, whose email address is flagged in `_errors`.
pub const ALAN_ID: &str = "20240601090000003c3d4e5f6a7b8c9d0e1f2a3b4c5d6e7";
/// Mary Shelley, deleted (hidden state).
pub const MARY_ID: &str = "20240601090000004d4e5f6a7b8c9d0e1f2a3b4c5d6e7f8";
/// Emmy Noether, listed after the deleted record.
pub const EMMY_ID: &str = "20240601090000005e5f6a7b8c9d0e1f2a3b4c5d6e7f8g9";

/// The sample records: id, version, deleted, fields.
pub(super) fn objects() -> Vec<(&'static str, u64, bool, Map<String, Value>)> {
    vec![
        (
            ADA_ID,
            7,
            false,
            members(
                json!({ "First Name": "Ada", "Last Name": "Lovelace", "Email": "ada@example.com", "Status": "Standard",
                           "Phone": "+44 20 7946 0001", "Credit Limit": number("1250.10"), "Newsletter": true }),
            ),
        ),
        (
            GRACE_ID,
            1,
            false,
            members(json!({ "First Name": "Grace", "Last Name": "Hopper", "Email": "grace@example.com",
                           "Status": "Premium", "Credit Limit": number("1.10"),
                           "Loyalty Points": number("12345678901234567890"), "Customer Since": "12/09/2019" })),
        ),
        (
            ALAN_ID,
            3,
            false,
            members(
                json!({ "First Name": "Alan", "Last Name": "Turing", "Email": "alan at example", "Status": "Standard" }),
            ),
        ),
        (
            MARY_ID,
            2,
            true,
            members(json!({ "First Name": "Mary", "Last Name": "Shelley", "Email": "mary@example.com" })),
        ),
        (
            EMMY_ID,
            1,
            false,
            members(json!({ "First Name": "Emmy", "Last Name": "Noether", "Email": "emmy@example.com",
                           "Phone": "+49 551 0000" })),
        ),
    ]
}
