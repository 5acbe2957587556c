//! A regular expression for a date in a format of the vendor's, such as `MM/DD/YYYY`.

/// The expression; `None` for a format with a part that is not known here.
pub(super) fn date_pattern(format: &str) -> Option<String> {
    const PARTS: [(&str, &str); 4] =
        [("YYYY", "[0-9]{4}"), ("MM", "(0[1-9]|1[0-2])"), ("DD", "(0[1-9]|[12][0-9]|3[01])"), ("YY", "[0-9]{2}")];
    let upper = format.to_ascii_uppercase();
    let mut rest = upper.as_str();
    let mut pattern = String::from("^");
    let mut was_part = false;
    while let Some(next) = rest.chars().next() {
        if let Some((part, expression)) = PARTS.iter().find(|(part, _)| rest.starts_with(part)) {
            // Without a separator the vendor's `dateSeparator` might stand here.
            if was_part {
                return None;
            }
            was_part = true;
            pattern.push_str(expression);
            rest = rest.strip_prefix(part)?;
        } else if matches!(next, '/' | '-' | '.' | ' ') {
            was_part = false;
            pattern.push_str(if next == '.' { "\\." } else { rest.get(..1)? });
            rest = rest.get(1..)?;
        } else {
            return None;
        }
    }
    (pattern.len() > 1).then(|| pattern + "$")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_with_known_parts_becomes_an_expression() {
        let month_first = "^(0[1-9]|1[0-2])/(0[1-9]|[12][0-9]|3[01])/[0-9]{4}$";
        assert_eq!(date_pattern("MM/DD/YYYY").as_deref(), Some(month_first));
        assert_eq!(date_pattern("yyyy-mm").as_deref(), Some("^[0-9]{4}-(0[1-9]|1[0-2])$"));
        for unknown in ["", "MMM D, YYYY", "DDMMYYYY", "ISO"] {
            assert_eq!(date_pattern(unknown), None, "{unknown}");
        }
    }
}
