//! Configurations as operators write them.

use records_gateway::config::Config;

/// A configuration is taken, or every fault says where it is and what would be right; a line put before it moves them by one.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A device or a pipe has no end, or waits for a writer.
    if text.contains("/dev") || text.contains("/proc") || text.contains("\\u") || text.contains("\\U") {
        return;
    }
    let lines = text.split('\n').count();
    let read = Config::parse(text, "fuzz");
    if let Err(faults) = &read {
        assert!(!faults.errors.is_empty(), "refused without a reason");
        for fault in &faults.errors {
            let position = fault.position.expect("a place");
            assert!((1..=lines).contains(&position.line) && position.column >= 1, "{position:?} of {lines} lines");
            assert!(!fault.message.is_empty() && !fault.expected.is_empty(), "{fault:?}");
        }
        assert_eq!(faults.to_string().lines().count(), faults.errors.len(), "one line a fault: {faults}");
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
                // What stands at the very beginning for want of a place does not move.
                lines.filter(|(line, _, wrong)| *line > moved + 1 && wrong != "is missing").collect()
            };
            let (one, other) = (placed(&one, 1), placed(&other, 0));
            assert!(one.iter().all(|fault| other.contains(fault)), "{one:?} {other:?}");
        }
        (one, other) => panic!("an empty line decides: {one:?} {other:?}"),
    }
}
