//! The program `remora-target`.

use std::process::ExitCode;

fn main() -> ExitCode {
    target_daemon::main(std::env::args_os())
}
