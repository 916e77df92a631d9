//! The provider `verbs` keeps the contract of the RDMA seam on the kernel's soft RoCE, by libibverbs and librdmacm as they are
//! installed in the guest, over IPv4 and IPv6. The suite is the one that every provider passes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::{ALL_ONLY, Scenario};
use crate::binaries;
use crate::error::{LabError, Result};
use crate::guest::{LEFT, Lab};
use crate::machine::Machine;
use crate::program::output_of;

pub const SCENARIO: Scenario = Scenario {
    name: "rdma-verbs",
    set: ALL_ONLY,
    about: "the RDMA seam's contract by libibverbs and librdmacm on the kernel's soft RoCE, IPv4 and IPv6",
    story,
};

/// The program of the tests, as cargo calls its target.
const SUITE: &str = "verbs_conformance";

/// For all rules at one address.
const PATIENCE: Duration = Duration::from_secs(1200);

fn story(lab: &Lab) -> Result<()> {
    let suite = build()?;
    let name = suite.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut lab = Lab { image: lab.image.clone(), binaries: lab.binaries.clone(), logs: lab.logs.clone() };
    lab.binaries.push(suite);
    let mut guest = lab.boot(&Machine::default())?;
    guest.run("rxe_alone")?;
    for address in [LEFT.ipv4, LEFT.ipv6] {
        let run = format!("REMORA_VERBS_ADDRESS={address} {name} --ignored --nocapture");
        let said = guest.run_within(&run, PATIENCE)?;
        // A program that holds no test would succeed as well.
        if !said.contains(" rules kept, 0 broken") {
            return Err(LabError::Machine(format!("the suite did not say that its rules are kept: {said}")));
        }
    }
    Ok(())
}

/// Builds the suite; needs what the feature `verbs` needs (README).
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(cargo);
    command.current_dir(workspace).args(["test", "--release", "--locked", "--no-run", "--package", "rdma"]);
    command.args(["--features", "verbs", "--test", SUITE, "--message-format", "json-render-diagnostics"]);
    let messages = output_of(&mut command)?;
    let programs = String::from_utf8_lossy(&messages).lines().filter_map(binaries::executable).next_back();
    programs.ok_or_else(|| LabError::Machine(format!("cargo built no {SUITE}")))
}
