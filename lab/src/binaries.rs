//! Our programs, as they are released.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::error::{LabError, Result};
use crate::program::output_of;

/// Packages whose programs go into the guest.
const PACKAGES: &[&str] = &["remora-tools", "target-daemon"];

/// Our programs, and where cargo puts what it builds.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// Paths of the programs.
    pub programs: Vec<PathBuf>,
    /// Cargo's target directory.
    pub target: PathBuf,
}

/// Builds the release.
pub fn build() -> Result<Binaries> {
    build_with(&[])
}

/// Builds the release with features of packages, in place of the one without.
pub fn build_with(features: &[&str]) -> Result<Binaries> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["build", "--release", "--locked", "--bins"]);
    command.args(["--message-format", "json-render-diagnostics"]);
    for package in PACKAGES {
        command.args(["--package", package]);
    }
    for feature in features {
        command.args(["--features", feature]);
    }
    let messages = output_of(&mut command)?;
    let programs: Vec<_> = String::from_utf8_lossy(&messages).lines().filter_map(executable).collect();
    let target = programs.first().and_then(|program| program.parent()?.parent());
    let target =
        target.ok_or_else(|| LabError::Machine("cargo built no program of ours".to_owned()))?.to_owned();
    Ok(Binaries { programs, target })
}

/// The program that a line of cargo's messages tells of.
pub fn executable(line: &str) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(line).ok()?;
    message["executable"].as_str().map(PathBuf::from)
}
