//! Configuration files.

use records_gateway::config::Config;

/// A configuration is accepted, or every error has its position and says what would be valid; a
/// line before it moves them by one.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A device has no end, and a pipe waits for a writer.
    if text.contains("/dev") || text.contains("/proc") || text.contains("\\u") || text.contains("\\U") {
        return;
    }
    let lines = text.split('\n').count();
    let read = Config::parse(text, "fuzz");
    if let Err(faults) = &read {
        assert!(!faults.errors.is_empty(), "rejected without an error");
        for fault in &faults.errors {
            let position = fault.position.expect("a position");
            assert!((1..=lines).contains(&position.line) && position.column >= 1, "{position:?} of {lines} lines");
            assert!(!fault.message.is_empty() && !fault.expected.is_empty(), "{fault:?}");
        }
        assert_eq!(faults.to_string().lines().count(), faults.errors.len(), "one line per error: {faults}");
    }
    if text.starts_with('\u{feff}') {
        return;
    }
    match (read, Config::parse(&format!("\n{text}"), "fuzz")) {
        (Ok(one), Ok(other)) => assert_eq!(one, other),
        (Err(one), Err(other)) => {
            let placed = |faults: &records_gateway::config::ConfigErrors, moved: usize| -> Vec<_> {
                let lines = faults.errors.iter().map(|fault| {
                    let line = fault.position.map_or(0, |position| position.line + moved);
                    (line, fault.path.clone(), fault.message.clone())
                });
                // An error without a line of its own is at the beginning and does not move.
                lines.filter(|(line, _, wrong)| *line > moved + 1 && wrong != "is missing").collect()
            };
            let (one, other) = (placed(&one, 1), placed(&other, 0));
            assert!(one.iter().all(|fault| other.contains(fault)), "{one:?} {other:?}");
        }
        (one, other) => panic!("an empty line changes the result: {one:?} {other:?}"),
    }
}
