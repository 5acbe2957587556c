//! The name that a mistyped one was probably meant to be.

/// The known name that is at most two edits away, and by fewer than half of its length; else one
/// that begins so. An edit inserts, deletes or replaces a character, or swaps two. Case is no edit.
#[must_use]
pub fn nearest_name<'k>(typed: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let folded: String = typed.to_lowercase();
    let length = folded.chars().count();
    let similar = |candidate: &'k str| {
        let candidate_folded = candidate.to_lowercase();
        let beginning: String = candidate_folded.chars().take(length).collect();
        let is_close = |part: &str| {
            let distance = strsim::osa_distance(&folded, part);
            (distance <= 2 && distance * 2 < part.chars().count()).then_some(distance)
        };
        let whole =
            (folded.len().abs_diff(candidate.len()) <= 2 * char::MAX.len_utf8()).then(|| is_close(&candidate_folded));
        let whole = whole.flatten().map(|distance| (false, distance, candidate));
        // A short beginning is that of many names.
        whole.or_else(|| {
            (length >= 5).then(|| is_close(&beginning)).flatten().map(|distance| (true, distance, candidate))
        })
    };
    known.into_iter().filter_map(similar).min().map(|(_, _, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_a_slip_away() {
        let known = ["Name", "Email", "Description", "Größe", "statuscode"];
        for (typed, expected) in [
            ("Naem", Some("Name")),
            ("Nam", Some("Name")),
            ("email", Some("Email")),
            ("Descritpion", Some("Description")),
            ("grösse", Some("Größe")),
            ("Statsu", Some("statuscode")),
            ("Stat", None),
            ("Phone", None),
            ("", None),
        ] {
            assert_eq!(nearest_name(typed, known), expected, "{typed}");
        }
    }
}
