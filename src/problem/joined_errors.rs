//! Several errors as one problem: its detail names them all.

use super::{Problem, ProblemKind};
use crate::record::FieldError;

/// The most errors that one response lists; its detail says how many more there are.
const MAX_ERRORS: usize = 100;

impl Problem {
    /// The problem of these errors.
    #[must_use]
    pub fn of_errors(kind: ProblemKind, errors: Vec<FieldError>) -> Self {
        kind.with_detail(join(&errors)).errors(errors)
    }

    /// The problem of the first of these errors, and how many more there are.
    #[must_use]
    pub fn of_first_errors(kind: ProblemKind, mut errors: Vec<FieldError>) -> Self {
        let hidden = errors.len().saturating_sub(MAX_ERRORS);
        errors.truncate(MAX_ERRORS);
        let mut problem = Self::of_errors(kind, errors);
        if hidden > 0 {
            problem.detail = format!("{}; and {hidden} more", problem.detail);
        }
        problem
    }

    /// Replaces each error by those that `translate` makes of it, in the detail, too, where that is
    /// made of the errors.
    pub fn translate_errors(&mut self, translate: impl FnMut(FieldError) -> Vec<FieldError>) {
        let old_detail = join(&self.errors);
        self.errors = std::mem::take(&mut self.errors).into_iter().flat_map(translate).collect();
        // It may end with how many more errors there are.
        let rest = self.detail.strip_prefix(&old_detail).map(str::to_owned);
        if let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with("; and ")) {
            self.detail = join(&self.errors) + &rest;
        }
    }
}

/// All errors in one text: `pointer: detail; pointer: detail`. An error of the whole body has no
/// pointer.
fn join(errors: &[FieldError]) -> String {
    let text = |error: &FieldError| match error.pointer.as_str() {
        "" => error.detail.clone(),
        pointer => format!("{pointer}: {}", error.detail),
    };
    errors.iter().map(text).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(count: usize) -> Vec<FieldError> {
        (0..count).map(|number| FieldError::new(format!("/fields/{number}"), "is wrong")).collect()
    }

    #[test]
    fn the_detail_names_each_error_that_is_listed() {
        let problem = Problem::of_errors(ProblemKind::Rejected, errors(2));
        assert_eq!(problem.detail, "/fields/0: is wrong; /fields/1: is wrong");
        let problem = Problem::of_errors(ProblemKind::Rejected, vec![FieldError::new("", "is no object")]);
        assert_eq!(problem.detail, "is no object");
        let problem = Problem::of_first_errors(ProblemKind::Rejected, errors(102));
        assert_eq!(problem.errors.len(), 100);
        assert!(problem.detail.ends_with("/fields/99: is wrong; and 2 more"), "{}", problem.detail);
    }

    #[test]
    fn translated_errors_are_in_the_detail() {
        let translate = |error: FieldError| vec![FieldError::new("/a", error.detail.clone()), error];
        let mut problem = Problem::of_first_errors(ProblemKind::Rejected, errors(101));
        problem.translate_errors(translate);
        assert!(problem.detail.starts_with("/a: is wrong; /fields/0: is wrong; /a"), "{}", problem.detail);
        assert!(problem.detail.ends_with("; and 1 more") && problem.errors.len() == 200, "{}", problem.detail);
        let mut other = ProblemKind::Rejected.with_detail("the vendor rejected values").errors(errors(1));
        other.translate_errors(translate);
        assert_eq!((other.detail.as_str(), other.errors.len()), ("the vendor rejected values", 2));
    }
}
