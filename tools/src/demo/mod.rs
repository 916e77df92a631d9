//! `remora demo`: two targets and a host on this machine, one of the targets killed while I/O is in flight.
//!
//! - `story`: the acts in their order, and what each must show; `crisis`: the act in which a target dies and comes back.
//! - `scene`: where it plays: a temporary folder, free loopback addresses, sizes and times.
//! - `server`: a target, its files, and what the host has of it; `target`: its process, which ends with the demo, however
//!   that ends.
//! - `host`: discovery and attaching; `attached`: what of a namespace's I/O is in flight.
//! - `workload`: the runs of `remora bench` on it; `figures`: what they measured.
//! - `stage`: what is told, and waiting.
//!
//! A demo that cannot fail shows nothing: `--sabotage` (hidden) makes a target lose a block, or leaves it alive, and the
//! demo must find out.

mod attached;
mod crisis;
mod error;
mod figures;
mod host;
mod sabotage;
mod scene;
mod server;
mod stage;
mod story;
mod target;
mod workload;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::bench::stop::Stop;
use crate::cli::EXIT_FAILED;
use error::DemoError;
pub use sabotage::Sabotage;
pub use target::{TARGET_COMMAND, target_process};

/// See two targets and a host at work, and a target die and come back.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct DemoOptions {
    /// Less data and shorter waits: about 10 seconds instead of 20
    #[arg(long)]
    pub quick: bool,

    /// Spoil the demo, which must notice
    #[arg(long, value_enum, hide = true)]
    pub sabotage: Option<Sabotage>,
}

const AFTER_HELP: &str = "\
Nothing is needed but this program: no RDMA adapter, no drive, no rights. Everything runs on addresses of 127.0.0.0/8 and in
a temporary folder, and is gone afterwards.

Exit codes: 0 all checks passed; 1 one failed, or something could not be done; 130 or 143 after Ctrl-C or SIGTERM.";

/// Runs the command and tells how it went.
#[must_use]
pub fn command(options: &DemoOptions) -> ExitCode {
    let stop = match Stop::on_signals() {
        Ok(stop) => stop,
        Err(error) => return tell(&DemoError::Signals(error)),
    };
    match story::play(options, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(DemoError::Stopped) => {
            let code = stop.signal_exit_code().unwrap_or(EXIT_FAILED);
            let _ = tell(&DemoError::Stopped);
            ExitCode::from(code)
        }
        Err(error) => tell(&error),
    }
}

fn tell(error: &DemoError) -> ExitCode {
    // Nothing is left to be done if nobody reads it.
    let _ = writeln!(io::stderr(), "\nremora demo: {error}");
    ExitCode::from(EXIT_FAILED)
}
