//! The command `remora`.

use std::process::ExitCode;

fn main() -> ExitCode {
    remora_tools::run(std::env::args_os())
}
