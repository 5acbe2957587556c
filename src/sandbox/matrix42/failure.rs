//! The vendor's errors, in German or English. Almost all of them are 500.

use serde_json::json;

use crate::sandbox::common::http::FakeResponse;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Unknown class.
    UnknownClass,
    /// The body has no `ID`.
    MissingId,
    /// No fragment with this `ID`.
    UnknownFragment,
    /// A stale `TimeStamp`.
    Concurrency,
    /// The class does not have this attribute.
    UnknownAttribute(&'static str, String),
    /// A mandatory attribute is missing or reset to `null`.
    MissingMandatoryAttribute(&'static str),
    /// A value of the wrong type.
    BadValue(&'static str),
    /// The `ID` in the body exists already.
    Duplicate,
    /// The body is not a JSON object; the message does not name the cause.
    BadBody,
    /// Invalid A-SQL.
    Syntax,
    /// The sort column, `ID` by default, is not among the columns.
    SortColumn(String),
    /// `DisplayString` is among the columns.
    DisplayString,
}

impl Failure {
    fn message_en(&self) -> String {
        match self {
            Self::UnknownClass => "Data definition not found.".to_owned(),
            Self::MissingId => "The attribute ID is required.".to_owned(),
            Self::UnknownFragment => "Fragment with specified ID not found or not defined.".to_owned(),
            Self::Concurrency => {
                "Concurrency. The object you want to update has been updated by another process.".to_owned()
            }
            Self::UnknownAttribute(class, name) => format!("Class {class} does not contain attribute {name}"),
            Self::MissingMandatoryAttribute(name) => format!("The mandatory attribute {name} is missing."),
            Self::BadValue(name) => format!("The value of the attribute {name} cannot be converted."),
            Self::Duplicate => "Violation of PRIMARY KEY constraint. Cannot insert duplicate key.".to_owned(),
            Self::BadBody => "Object reference not set to an instance of an object.".to_owned(),
            Self::Syntax => "ExpressionParser syntax error".to_owned(),
            Self::SortColumn(name) => format!("The sort column {name} is not among the selected columns."),
            Self::DisplayString => "Column DisplayString is already defined.".to_owned(),
        }
    }

    fn message_de(&self) -> String {
        match self {
            Self::UnknownClass => "Die Datendefinition wurde nicht gefunden.".to_owned(),
            Self::MissingId => "Das Attribut ID ist erforderlich.".to_owned(),
            Self::UnknownFragment => "Das Fragment mit der angegebenen ID wurde nicht gefunden.".to_owned(),
            Self::Concurrency => {
                "Parallelitätskonflikt. Das Objekt, das Sie aktualisieren möchten, wurde von einem anderen Prozess geändert."
                    .to_owned()
            }
            Self::UnknownAttribute(class, name) => format!("Die Klasse {class} enthält das Attribut {name} nicht"),
            Self::MissingMandatoryAttribute(name) => format!("Das Pflichtattribut {name} fehlt."),
            Self::BadValue(name) => format!("Der Wert des Attributs {name} kann nicht konvertiert werden."),
            Self::Duplicate => "Verletzung der PRIMARY KEY-Einschränkung.".to_owned(),
            Self::BadBody => "Der Objektverweis wurde nicht auf eine Objektinstanz festgelegt.".to_owned(),
            Self::Syntax => "ExpressionParser: Syntaxfehler".to_owned(),
            Self::SortColumn(name) => format!("Die Sortierspalte {name} ist nicht ausgewählt."),
            Self::DisplayString => "Die Spalte DisplayString ist bereits definiert.".to_owned(),
        }
    }

    /// The 500 response. Only `Explicit-Language` selects the language, `Accept-Language` does not.
    pub(super) fn to_response(&self, explicit_language: Option<&str>) -> FakeResponse {
        let english = explicit_language.is_some_and(|language| language.to_ascii_lowercase().starts_with("en"));
        let (message, text) = if english {
            ("An error has occurred.", self.message_en())
        } else {
            ("Ein Fehler ist aufgetreten.", self.message_de())
        };
        let kind = match self {
            Self::Concurrency => "Matrix42.Pandora.Contracts.DataService.ConcurrencyException",
            Self::BadBody => "System.NullReferenceException",
            _ => "Matrix42.Pandora.Contracts.PandoraException",
        };
        FakeResponse::json(
            500,
            &json!({ "Message": message, "ExceptionMessage": text, "ExceptionType": kind,
                     "StackTrace": "   at Matrix42.Services.Data.FragmentsController.Handle(String ddName)\r\n   at lambda_method(Closure , Object , Object[] )" }),
        )
    }
}
