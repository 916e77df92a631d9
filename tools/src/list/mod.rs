//! `remora list`: the NVMe drives of this machine, or the namespaces that targets export.
//!
//! - `exported`: from an address to namespaces; `report`: a table for people, JSON for programs.

mod exported;
mod report;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::cli::EXIT_FAILED;
use crate::discover::place::Place;
use crate::discover::{AskOptions, DiscoverError};
use crate::drives;
use crate::nvme::OutputFormat;

/// List drives or exported namespaces.
#[derive(Clone, Debug, Args)]
pub struct ListOptions {
    /// Targets whose namespaces to list: 192.0.2.1, rdma://192.0.2.1:4420; without any, this machine's drives
    targets: Vec<Place>,

    /// Who asks, and how
    #[command(flatten)]
    asking: AskOptions,

    /// The list's format
    #[arg(short, long, alias = "output_format", value_enum, default_value = "normal")]
    output_format: OutputFormat,
}

/// Runs the command and tells how it went.
#[must_use]
pub fn command(options: &ListOptions) -> ExitCode {
    match run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            say(&error.to_string());
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Whether everything that was asked answered.
fn run(options: &ListOptions) -> Result<bool, DiscoverError> {
    if options.targets.is_empty() {
        let drives = drives::all();
        let text = match options.output_format {
            OutputFormat::Normal => drives::table(&drives),
            OutputFormat::Json => report::drives_json(&drives)?,
        };
        io::stdout().write_all(text.as_bytes())?;
        return Ok(true);
    }
    let (subsystems, problems) = exported::all(&options.targets, &options.asking.remote()?);
    let text = match options.output_format {
        OutputFormat::Normal => report::table(&subsystems),
        OutputFormat::Json => report::json(&subsystems, &problems)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    problems.iter().for_each(|problem| say(problem));
    Ok(problems.is_empty())
}

fn say(text: &str) {
    // Nothing is left to be done if nobody reads it.
    let _ = writeln!(io::stderr(), "remora: {text}");
}
