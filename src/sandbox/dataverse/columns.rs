//! The columns of tables, and which values they take.

use serde_json::Value;

use super::failure::Failure;

/// The type of a column.
#[derive(Clone, Copy, Debug)]
pub(super) enum ColumnType {
    /// Text with a maximum length.
    Text(usize),
    /// Text of several lines with a maximum length.
    Memo(usize),
    Integer(i64, i64),
    Decimal,
    Boolean,
    DateTime,
    /// A choice: values and labels.
    Choice(&'static [(i64, &'static str)]),
    /// The reason of the row's state, a choice of its own type.
    Status(&'static [(i64, &'static str)]),
    /// A reference to a row: navigation property and set of each target.
    Lookup(&'static [(&'static str, &'static str)]),
    /// The primary key.
    Key,
    /// The row version as a number.
    RowVersion,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// The logical name; a lookup is read under `_name_value`.
    pub(super) name: &'static str,
    pub(super) kind: ColumnType,
    pub(super) required: bool,
    /// Whether only the vendor sets it.
    pub(super) computed: bool,
}

impl Column {
    /// The name under which a row shows it.
    pub(super) fn shown_name(&self) -> String {
        match self.kind {
            ColumnType::Lookup(_) => format!("_{}_value", self.name),
            _ => self.name.to_owned(),
        }
    }

    /// Checks a value that a write gives the column.
    pub(super) fn check(&self, value: &Value) -> Result<(), Failure> {
        let (edm, fits) = match self.kind {
            ColumnType::Text(max) | ColumnType::Memo(max) => {
                if value.as_str().is_some_and(|text| text.chars().count() > max) {
                    return Err(Failure::TooLong(self.name, max));
                }
                ("Edm.String", value.is_string())
            }
            ColumnType::Integer(min, max) => {
                let number = value.as_i64();
                if number.is_some_and(|number| !(min..=max).contains(&number)) {
                    return Err(Failure::OutOfRange(self.name));
                }
                ("Edm.Int32", number.is_some())
            }
            ColumnType::Decimal => ("Edm.Decimal", value.is_number()),
            ColumnType::Boolean => ("Edm.Boolean", value.is_boolean()),
            ColumnType::DateTime => {
                let is_time =
                    |text: &str| text.parse::<jiff::Timestamp>().is_ok() || text.parse::<jiff::civil::Date>().is_ok();
                ("Edm.DateTimeOffset", value.as_str().is_some_and(is_time))
            }
            ColumnType::Choice(options) | ColumnType::Status(options) => {
                let number = value.as_i64();
                if number.is_some_and(|number| options.iter().all(|(known, _)| *known != number)) {
                    return Err(Failure::UnknownChoice(self.name));
                }
                ("Edm.Int32", number.is_some())
            }
            ColumnType::Lookup(_) | ColumnType::Key | ColumnType::RowVersion => ("Edm.Guid", true),
        };
        if fits || value.is_null() { Ok(()) } else { Err(Failure::WrongType(value.to_string(), edm)) }
    }
}
