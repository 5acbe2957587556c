//! Names of problems, and `Retry-After`.

use super::*;

#[test]
fn every_problem_is_found_by_its_name() {
    for problem in ProblemKind::ALL {
        assert_eq!(ProblemKind::parse(problem.as_str()), Some(*problem));
        let json = serde_json::to_string(problem).expect("a string");
        assert_eq!(json, format!("\"{}\"", problem.as_str()));
    }
}

#[test]
fn retry_after_is_whole_seconds_and_at_least_one() {
    let seconds =
        |ms| ProblemKind::RateLimited.with_detail("").retry_after(Duration::from_millis(ms)).retry_after_seconds();
    assert_eq!([seconds(0), seconds(1), seconds(1000), seconds(1001)], [Some(1), Some(1), Some(1), Some(2)]);
}
