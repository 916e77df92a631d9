//! The findings as text and as JSON.

use std::fmt::Write;
use std::io;

use serde::Serialize;

use super::finding::{Finding, State, Use};

/// Widths of the columns of a finding's first line.
const STATE_WIDTH: usize = 8;
const NAME_WIDTH: usize = 18;

/// The uses to give a verdict on: those that were named, or all.
fn judged(uses: &[Use]) -> &[Use] {
    if uses.is_empty() { &Use::ALL } else { uses }
}

/// The findings, and a verdict on each use.
pub(super) fn text(findings: &[Finding], uses: &[Use]) -> String {
    let mut text: String = findings.iter().map(paragraph).collect();
    text.push('\n');
    for of in judged(uses) {
        let _ = writeln!(text, "{:STATE_WIDTH$}{}", of.name(), verdict(findings, *of));
    }
    text
}

fn paragraph(finding: &Finding) -> String {
    let Finding { name, state, found, meaning, uses, mend } = finding;
    let indent = " ".repeat(STATE_WIDTH);
    let uses = uses.iter().map(|of| of.name()).collect::<Vec<_>>().join(", ");
    let mut text = format!("{:STATE_WIDTH$}{name:NAME_WIDTH$}{found}\n", state.name());
    let _ = writeln!(text, "{indent}{meaning} [{uses}]");
    if let Some(mend) = mend {
        let _ = writeln!(text, "{indent}mend: {mend}");
    }
    text
}

fn verdict(findings: &[Finding], of: Use) -> String {
    let named = |state: State| {
        let names = findings.iter().filter(|finding| finding.matters_for(of) && finding.state == state);
        names.map(|finding| finding.name).collect::<Vec<_>>().join(", ")
    };
    match (named(State::Missing), named(State::Advice)) {
        (missing, _) if !missing.is_empty() => format!("not possible here: {missing}"),
        (_, advice) if !advice.is_empty() => format!("works; see the advice on {advice}"),
        _ => "works".to_owned(),
    }
}

/// What the JSON's top level is.
#[derive(Serialize)]
struct Report<'a> {
    findings: &'a [Finding],
    uses: Vec<Verdict>,
}

#[derive(Serialize)]
struct Verdict {
    #[serde(rename = "use")]
    of: Use,
    possible: bool,
}

pub(super) fn json(findings: &[Finding], uses: &[Use]) -> io::Result<String> {
    let possible = |of: Use| !findings.iter().any(|finding| finding.rules_out(of));
    let uses = judged(uses).iter().map(|of| Verdict { of: *of, possible: possible(*of) }).collect();
    serde_json::to_string_pretty(&Report { findings, uses }).map(|text| text + "\n").map_err(io::Error::other)
}
