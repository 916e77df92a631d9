//! `remora target`: asks a running `remora-target` by its control socket.
//!
//! - `status`: how a target is, as tables; `table`: columns.

mod status;
mod table;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use target_daemon::control::client::{Client, ClientError};
use target_daemon::control::default_path;
use target_daemon::control::protocol::{Changed, Reloaded, Reply, Request};
use thiserror::Error;

use crate::cli::EXIT_FAILED;
use crate::nvme::OutputFormat;

/// The hidden subcommand that is the program `remora-target`.
pub const DAEMON: &str = "__target";

/// How long a target may drain: longer than it can be told to.
const DRAIN_PATIENCE: Duration = Duration::from_secs(4000);

/// Which target, what of it, and how to print the answer.
#[derive(Clone, Debug, Args)]
pub struct TargetOptions {
    /// What to ask
    #[command(subcommand)]
    pub command: TargetCommand,

    /// Its control socket, if it is not at the usual place
    #[arg(long, value_name = "PATH", global = true)]
    pub control: Option<PathBuf>,

    /// How to print the answer
    #[arg(short, long, alias = "output_format", value_enum, default_value = "normal", global = true)]
    pub output_format: OutputFormat,
}

/// What a target can be asked.
#[derive(Clone, Debug, Subcommand)]
pub enum TargetCommand {
    /// Show what it exports, who is attached, and how it is
    Status,
    /// Let it read its configuration again
    Reload,
    /// Export a device
    AddNamespace {
        /// The device, such as nvme:0000:01:00.0/1 or file:/dev/sdb
        device: String,
        /// In which subsystem, if there are several
        #[arg(long)]
        nqn: Option<String>,
        /// Its number; the lowest free one if not given
        #[arg(long)]
        nsid: Option<u32>,
        /// Hosts may only read it
        #[arg(long)]
        read_only: bool,
        /// Its UUID, if not the device's own
        #[arg(long)]
        uuid: Option<String>,
        /// Its NGUID, if not the device's own
        #[arg(long)]
        nguid: Option<String>,
    },
    /// Export a namespace no longer
    RemoveNamespace {
        /// Its number
        nsid: u32,
        /// In which subsystem, if there are several
        #[arg(long)]
        nqn: Option<String>,
    },
    /// Let I/O end, close all connections, and end; waits until it has
    Drain,
}

/// Why there is no good answer.
#[derive(Debug, Error)]
enum TargetError {
    /// Nobody knows where to ask.
    #[error("say where the target's control socket is: --control PATH")]
    NoPath,
    /// The target is not to be heard.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// Some of it did not work.
    #[error("some changes failed")]
    Partly,
    /// It answers another question.
    #[error("the target answers another question")]
    Other,
    /// The answer cannot be written out.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs the daemon in this process.
#[must_use]
pub fn daemon(arguments: Vec<OsString>) -> ExitCode {
    target_daemon::main(std::iter::once(OsString::from("remora-target")).chain(arguments))
}

/// Runs the command and tells how it went.
#[must_use]
pub fn command(options: &TargetOptions) -> ExitCode {
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be done if nobody reads it.
            let _ = writeln!(io::stderr(), "remora: {error}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn run(options: &TargetOptions) -> Result<(), TargetError> {
    let path = options.control.clone().or_else(default_path).ok_or(TargetError::NoPath)?;
    let mut client = Client::connect(&path)?;
    let reply = client.ask(&request(&options.command))?;
    if let Reply::Error { message } = reply {
        return Err(TargetError::Refused(message));
    }
    if reply == (Reply::Draining {}) {
        client.wait_for_end(DRAIN_PATIENCE)?;
    }
    let text = match options.output_format {
        OutputFormat::Normal => words(&reply)?,
        OutputFormat::Json => json(&reply)?,
    };
    io::stdout().write_all(text.as_bytes())?;
    match reply {
        Reply::Reloaded(Reloaded { errors, .. }) if !errors.is_empty() => Err(TargetError::Partly),
        _ => Ok(()),
    }
}

fn request(command: &TargetCommand) -> Request {
    match command.clone() {
        TargetCommand::Status => Request::Status {},
        TargetCommand::Reload => Request::Reload {},
        TargetCommand::Drain => Request::Drain {},
        TargetCommand::RemoveNamespace { nsid, nqn } => Request::RemoveNamespace { nqn, nsid },
        TargetCommand::AddNamespace { device, nqn, nsid, read_only, uuid, nguid } => {
            Request::AddNamespace { nqn, nsid, device, read_only, uuid, nguid }
        }
    }
}

/// An answer for people.
fn words(reply: &Reply) -> Result<String, TargetError> {
    match reply {
        Reply::Status(status) => Ok(status::text(status)),
        Reply::Reloaded(reloaded) => Ok(reloaded_words(reloaded)),
        Reply::NamespaceAdded(changed) => Ok(changed_words("added to", changed)),
        Reply::NamespaceRemoved(changed) => Ok(changed_words("removed from", changed)),
        Reply::Draining {} => Ok("drained, and ended\n".to_owned()),
        Reply::Error { .. } => Err(TargetError::Other),
    }
}

fn changed_words(what: &str, Changed { nqn, nsid, is_kept }: &Changed) -> String {
    let until = if *is_kept { "" } else { " until it ends (without a state directory nothing is kept)" };
    format!("namespace {nsid} {what} {nqn}{until}\n")
}

fn reloaded_words(Reloaded { changes, errors, needs_restart, notes }: &Reloaded) -> String {
    let line = |what: &str, words: &String| format!("{what}: {words}\n");
    let made = format!("{changes} {} made\n", if *changes == 1 { "change" } else { "changes" });
    let errors = errors.iter().map(|words| line("failed", words));
    let restarts = needs_restart.iter().map(|words| line("needs a restart", words));
    let notes = notes.iter().map(|words| line("note", words));
    std::iter::once(made).chain(errors).chain(restarts).chain(notes).collect()
}

/// An answer for programs: what the control socket says, without its envelope.
fn json(reply: &Reply) -> Result<String, TargetError> {
    match reply {
        Reply::Status(status) => pretty(status),
        Reply::Reloaded(reloaded) => pretty(reloaded),
        Reply::NamespaceAdded(changed) | Reply::NamespaceRemoved(changed) => pretty(changed),
        Reply::Draining {} => pretty(&serde_json::json!({ "drained": true })),
        Reply::Error { .. } => Err(TargetError::Other),
    }
}

fn pretty(value: &impl Serialize) -> Result<String, TargetError> {
    let text = serde_json::to_string_pretty(value).map_err(io::Error::other)?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_in_words() {
        let changed = |is_kept| Changed { nqn: "nqn.2024-05.a".to_owned(), nsid: 7, is_kept };
        assert_eq!(
            words(&Reply::NamespaceAdded(changed(true))).unwrap(),
            "namespace 7 added to nqn.2024-05.a\n"
        );
        let unkept = words(&Reply::NamespaceRemoved(changed(false))).unwrap();
        assert!(unkept.starts_with("namespace 7 removed from nqn.2024-05.a until it ends"), "{unkept}");
        let reloaded = Reloaded {
            changes: 1,
            errors: vec!["e".to_owned()],
            needs_restart: vec!["listen".to_owned()],
            notes: vec!["n".to_owned()],
        };
        let told = words(&Reply::Reloaded(reloaded)).unwrap();
        assert_eq!(told, "1 change made\nfailed: e\nneeds a restart: listen\nnote: n\n");
    }

    #[test]
    fn answers_are_json_without_the_envelope() {
        let changed = Changed { nqn: "nqn.2024-05.a".to_owned(), nsid: 7, is_kept: true };
        let value: serde_json::Value =
            serde_json::from_str(&json(&Reply::NamespaceAdded(changed)).unwrap()).unwrap();
        assert_eq!(value, serde_json::json!({ "nqn": "nqn.2024-05.a", "nsid": 7, "is_kept": true }));
    }
}
