//! Runs the rules, one or all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Subject;

/// How a run of all rules went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The rules that are kept.
    pub passed: Vec<&'static str>,
    /// The rules that are not.
    pub failed: Vec<Failure>,
    /// The rules that the provider cannot keep, with the reasons.
    pub exempt: Vec<(&'static str, &'static str)>,
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The rule.
    pub rule: &'static str,
    /// What was found.
    pub finding: String,
}

/// Holds a subject to one rule.
///
/// # Panics
/// If the rule is broken.
pub fn check<S: Subject>(rule: &str, subject: &S, test: fn(&S)) {
    match reason_to_spare(rule, subject) {
        Some(reason) => println!("NOT TESTED: {rule}: {reason}"),
        None => test(subject),
    }
}

/// Holds a subject to every rule, one after the other; `tell` hears each rule's name before it is tried.
pub fn run_all<S: Subject>(subject: &S, mut tell: impl FnMut(&'static str)) -> Summary {
    let rules = crate::conformance_tests! { @rules @list S };
    let mut summary = Summary::default();
    for (rule, test) in rules {
        if let Some(reason) = reason_to_spare(rule, subject) {
            summary.exempt.push((rule, reason));
            continue;
        }
        tell(rule);
        match catch_unwind(AssertUnwindSafe(|| test(subject))) {
            Ok(()) => summary.passed.push(rule),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                summary.failed.push(Failure { rule, finding: text.unwrap_or_default() });
            }
        }
    }
    summary
}

fn reason_to_spare<S: Subject>(rule: &str, subject: &S) -> Option<&'static str> {
    subject.exempt().iter().find(|(name, _)| *name == rule).map(|(_, reason)| *reason)
}
