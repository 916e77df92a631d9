//! The command line: subcommands and exit codes.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing::Level;

use crate::attach::{self, AttachOptions, AttachmentsOptions, DetachOptions};
use crate::bench::{self, BenchOptions};
use crate::demo::{self, DemoOptions};
use crate::discover::{self, DiscoverOptions};
use crate::doctor::{self, DoctorOptions};
use crate::drives::{self, DrivesCommand};
use crate::list::{self, ListOptions};
use crate::nvme::{self, ErrorLogOptions, GetLogOptions, NvmeOptions};
use crate::rdma::{self, RdmaCommand};
use crate::target::{self, TargetOptions};

/// Exit code when the command line asks for something that cannot be.
pub const EXIT_USAGE: u8 = 2;

/// Exit code when an I/O failed or a block held what it must not.
pub const EXIT_FAILED: u8 = 1;

#[derive(Debug, Parser)]
#[command(name = "remora", version, about = "Remora's tools for block devices and RDMA")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See two targets and a host at work, and a target die and come back
    Demo(DemoOptions),
    /// Show what a target exports, and where
    Discover(DiscoverOptions),
    /// List this machine's NVMe drives, or the namespaces that targets export
    List(ListOptions),
    /// Measure a block device, and verify what it returns
    Bench(Box<BenchOptions>),
    /// Attach a device for other programs, through NBD
    Attach(AttachOptions),
    /// List attachments
    Attachments(AttachmentsOptions),
    /// End an attachment
    Detach(DetachOptions),
    /// Look after NVMe drives
    #[command(subcommand)]
    Drives(DrivesCommand),
    /// Look at RDMA devices and try connections
    #[command(subcommand)]
    Rdma(RdmaCommand),
    /// Ask a running target, or change what it exports
    Target(Box<TargetOptions>),
    /// The program remora-target itself
    #[command(name = target::DAEMON, hide = true, disable_help_flag = true)]
    TargetDaemon {
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Look for what this machine lacks, what it means and how to mend it
    Doctor(DoctorOptions),
    /// Show what a controller says of itself (Identify Controller)
    IdCtrl(NvmeOptions),
    /// Show what a controller says of a namespace (Identify Namespace)
    IdNs(NvmeOptions),
    /// Show a controller's health (SMART / Health Information)
    SmartLog(NvmeOptions),
    /// Show a controller's newest errors (Error Information)
    ErrorLog(ErrorLogOptions),
    /// Show a controller's firmware slots (Firmware Slot Information)
    FwLog(NvmeOptions),
    /// Show any log page of a controller
    GetLog(GetLogOptions),
}

/// Runs the command line.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.collect();
    // A target of `remora demo`, which ends with it.
    if arguments.get(1).is_some_and(|word| word == demo::TARGET_COMMAND) {
        return demo::target_process(arguments.into_iter().skip(2));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Also the way in which help and the version are told; nothing is to be done if nobody reads it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { EXIT_USAGE } else { 0 });
        }
    };
    // It logs in its own way.
    if let Command::TargetDaemon { arguments } = cli.command {
        return target::daemon(arguments);
    }
    // The demo tells itself what happens to its connections.
    let level = if matches!(cli.command, Command::Demo(_)) { Level::ERROR } else { Level::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(io::stderr).init();
    match cli.command {
        Command::Demo(options) => demo::command(&options),
        Command::Discover(options) => discover::command(&options),
        Command::List(options) => list::command(&options),
        Command::Bench(options) => bench::command(&options),
        Command::Attach(options) => attach::attach(&options),
        Command::Attachments(options) => attach::attachments(&options),
        Command::Detach(options) => attach::detach(&options),
        Command::Drives(command) => drives::command(&command),
        Command::Rdma(command) => rdma::command(&command),
        Command::Target(options) => target::command(&options),
        Command::TargetDaemon { arguments } => target::daemon(arguments),
        Command::Doctor(options) => doctor::command(&options),
        Command::IdCtrl(options) => nvme::id_ctrl(&options),
        Command::IdNs(options) => nvme::id_ns(&options),
        Command::SmartLog(options) => nvme::smart_log(&options),
        Command::ErrorLog(options) => nvme::error_log(&options),
        Command::FwLog(options) => nvme::fw_log(&options),
        Command::GetLog(options) => nvme::get_log(&options),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
