//! Runs programs on the host and says what they said when they fail.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

use crate::error::{LabError, Result};

/// Lines of a failed program's output that are worth repeating.
const LINES_KEPT: usize = 30;

/// Runs a program to its end and returns its standard output.
pub fn output_of(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.stdin(Stdio::null()).output().map_err(|source| LabError::Io {
        what: format!("start {}", command.get_program().display()),
        source,
    })?;
    if output.status.success() { Ok(output.stdout) } else { Err(failure(command, &output)) }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

fn failure(command: &Command, output: &Output) -> LabError {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    // What was meant for another program to read says nothing to people.
    let said = if output.stderr.is_empty() { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(said);
    LabError::Program {
        command: words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" "),
        status: output.status.to_string(),
        output: tail(&text, LINES_KEPT),
    }
}
