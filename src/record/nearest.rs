//! The name that a mistyped one was probably meant to be.

/// The known name that is at most two edits away, and by fewer than half of its length. An edit
/// inserts, deletes or replaces a character, or swaps two. Case is no edit.
#[must_use]
pub fn nearest_name<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded = typed.to_lowercase();
    let similar = |candidate: &'k str| {
        if folded.len().abs_diff(candidate.len()) > 2 * char::MAX.len_utf8() {
            return None;
        }
        let distance = strsim::osa_distance(&folded, &candidate.to_lowercase());
        (distance <= 2 && distance * 2 < candidate.chars().count()).then_some((distance, candidate))
    };
    known.into_iter().filter_map(similar).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_away() {
        let known = ["Name", "Email", "Description", "Größe"];
        for (typed, expected) in [
            ("Naem", Some("Name")),
            ("Nam", Some("Name")),
            ("email", Some("Email")),
            ("Descritpion", Some("Description")),
            ("grösse", Some("Größe")),
            ("Phone", None),
            ("", None),
        ] {
            assert_eq!(nearest_name(typed, known), expected, "{typed}");
        }
    }
}
