//! `remora doctor`: what this machine lacks for each use of Remora, what that means and how to mend it.
//!
//! - `machine`: where its files are, read within bounds; tests have machines of their own.
//! - `finding`: what is said of one thing.
//! - `memory`, `drives`, `adapters`, `network`, `system`: the examinations, each a function from the machine to findings.
//! - `report`: text and JSON.
//!
//! It looks and changes nothing. What cannot be read is said so; no content of a file ends the command.

mod adapters;
mod drives;
mod finding;
mod machine;
mod memory;
mod network;
mod report;
mod system;

#[cfg(test)]
mod test_machine;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::cli::EXIT_FAILED;
use finding::{Finding, Use};
use machine::Machine;

/// Look for what this machine lacks.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DoctorOptions {
    /// What the machine is to be used for; everything is looked at if nothing is named
    #[arg(value_enum)]
    uses: Vec<Use>,

    /// The report's format
    #[arg(short, long, alias = "output_format", value_enum, default_value = "normal")]
    output_format: Format,
}

const AFTER_HELP: &str = "\
Each finding is `ok`, `advice` (it works, and would work better) or `missing` (the uses that it is listed for cannot be).

Exit codes: 0 nothing is missing for the uses that were named, or none was named; 1 something is; 2 the options cannot be.";

/// A format of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Text
    Normal,
    /// JSON
    Json,
}

/// Runs the command and tells how it went.
#[must_use]
pub fn command(options: &DoctorOptions) -> ExitCode {
    let findings = examine(&Machine::this(), &options.uses);
    let text = match options.output_format {
        Format::Normal => Ok(report::text(&findings, &options.uses)),
        Format::Json => report::json(&findings, &options.uses),
    };
    if let Err(error) = text.and_then(|text| io::stdout().write_all(text.as_bytes())) {
        // Nothing is left to be done if nobody reads it.
        let _ = writeln!(io::stderr(), "remora: the output cannot be written: {error}");
        return ExitCode::from(EXIT_FAILED);
    }
    ExitCode::from(exit_code(&findings, &options.uses))
}

/// Everything that matters for these uses, or for any if none is named.
fn examine(machine: &Machine, uses: &[Use]) -> Vec<Finding> {
    let all = [
        system::examine(machine),
        memory::examine(machine),
        drives::examine(machine),
        adapters::examine(machine),
        network::examine(machine),
    ];
    let matters = |finding: &Finding| uses.is_empty() || uses.iter().any(|of| finding.matters_for(*of));
    all.into_iter().flatten().filter(matters).collect()
}

fn exit_code(findings: &[Finding], uses: &[Use]) -> u8 {
    let lacks = uses.iter().any(|of| findings.iter().any(|finding| finding.rules_out(*of)));
    if lacks { EXIT_FAILED } else { 0 }
}

#[cfg(test)]
mod tests;
