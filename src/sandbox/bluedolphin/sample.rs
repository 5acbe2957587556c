//! The sample tenant: object definitions, questionnaires and credentials.

use serde_json::{Value, json};

use super::definition::{Definition, LinkedQuestion, Property, Questionnaire};

/// The tenant's name.
pub const TENANT: &str = "sandbox";
/// The user key.
pub const API_KEY: &str = "sandbox-user-key";

/// "New Application": a `Supplier`, a locked `Lifecycle`, a questionnaire, and hidden
/// configuration.
pub const NEW_APPLICATION_ID: &str = "640b3d7d4a28b925fcf8b9a2";
/// "Retired Server": disabled, so it can be deleted; objects are based on it.
pub const RETIRED_SERVER_ID: &str = "640b3d7d4a28b925fcf8b9a3";
/// "Business Object": built in, so it cannot be disabled or deleted; one property has no value.
pub const BUSINESS_OBJECT_ID: &str = "640b3d7d4a28b925fcf8b9a4";
/// "Empty Definition": no properties, no questionnaires.
pub const EMPTY_DEFINITION_ID: &str = "640b3d7d4a28b925fcf8b9a5";

/// "Application questions", linked to "New Application".
pub const QUESTIONNAIRE_ID: &str = "58edcaf2829327621cecc9e5";
/// "Security questions", linked to nothing.
pub const OTHER_QUESTIONNAIRE_ID: &str = "58edcaf2829327621cecc9e6";

/// The template of new definitions.
pub const TEMPLATE_ID: &str = "644779a07470b332c82b8d00";
/// A role.
pub const ROLE_ID: &str = "5f0c1d7d4a28b925fcf80001";

pub(super) fn questionnaires() -> Vec<Questionnaire> {
    let questionnaire = |id: &str, name: &str| Questionnaire { id: id.to_owned(), name: name.to_owned() };
    vec![
        questionnaire(QUESTIONNAIRE_ID, "Application questions"),
        questionnaire(OTHER_QUESTIONNAIRE_ID, "Security questions"),
    ]
}

/// The `type` of definitions created from the template.
pub(super) fn template_type() -> Value {
    json!({ "id": TEMPLATE_ID, "name": "Application Component", "name_internal": "application_component",
            "category": "Application", "category_internal": "application", "color": "#b5ffff" })
}

pub(super) fn definitions() -> Vec<Definition> {
    let property = |name: &str, value: Option<&str>, locked| Property {
        name: name.to_owned(),
        value: value.map(str::to_owned),
        locked,
    };
    let definition = |id: &str, name: &str| Definition::new(id, name, template_type());
    let question =
        |on: &str, question: &str| LinkedQuestion { attached_to: on.to_owned(), question: question.to_owned() };
    vec![
        Definition {
            properties: vec![
                property("Supplier", Some("Microsoft"), false),
                property("Lifecycle", Some("Production"), true),
                property("Owner", Some("Finance"), false),
            ],
            questionnaires: questionnaires().into_iter().take(1).collect(),
            linked_questions: vec![
                question("Supplier", "Who signs the contract?"),
                question("Lifecycle", "When does support end?"),
                question(QUESTIONNAIRE_ID, "Is it business critical?"),
            ],
            source_connections: vec!["cmdb".to_owned()],
            dependent_objects: 12,
            ..definition(NEW_APPLICATION_ID, "New Application")
        },
        Definition {
            properties: vec![property("Location", Some("Basement"), false)],
            disabled: true,
            dependent_objects: 3,
            ..definition(RETIRED_SERVER_ID, "Retired Server")
        },
        Definition {
            properties: vec![property("Steward", None, false), property("Glossary", Some(""), false)],
            built_in: true,
            dependent_objects: 40,
            ..definition(BUSINESS_OBJECT_ID, "Business Object")
        },
        definition(EMPTY_DEFINITION_ID, "Empty Definition"),
    ]
}
