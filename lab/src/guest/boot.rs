//! Brings a guest up.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::channel::Door;
use super::{CONSOLE_LOG, Guest, QEMU_LOG, Qmp, read_lossy};
use crate::clock::Deadline;
use crate::error::{Context, LabError, Result};
use crate::image::Image;
use crate::machine::Machine;

/// From QEMU's start to the guest's first word. Seconds on an idle machine.
pub(super) const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// For QEMU to end when told to.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Boots of which the last must succeed; see [`Lab::boot`].
const BOOTS_MAX: u32 = 3;

/// The guest's own shell scripts.
const SHELL: [(&str, &str); 3] = [
    ("start.sh", include_str!("start.sh")),
    ("lib.sh", include_str!("lib.sh")),
    ("nvmf.sh", include_str!("nvmf.sh")),
];

/// What every guest needs from the host.
#[derive(Clone, Debug)]
pub struct Lab {
    /// The guest's software.
    pub image: Image,
    /// Our programs.
    pub binaries: Vec<PathBuf>,
    /// Where a scenario's logs are kept.
    pub logs: PathBuf,
}

impl Lab {
    /// Starts a guest with this hardware.
    ///
    /// Now and then, on a busy host, the guest's kernel dies of an `int3` while it boots: it patches its own code on one
    /// processor, and QEMU's emulation of the other still runs the code of a moment ago. None of our programs has run
    /// by then, so that such a boot is tried again; a kernel that dies later is a failure like any other.
    pub fn boot(&self, machine: &Machine) -> Result<Guest> {
        for attempt in 1..BOOTS_MAX {
            let booted = self.boot_once(machine);
            let console = self.logs.join(CONSOLE_LOG);
            if booted.is_ok() || !died_patching_itself(&read_lossy(&console)) {
                return booted;
            }
            let kept = self.logs.join(format!("died-at-boot-{attempt}.log"));
            fs::rename(&console, &kept).about("rename", &console)?;
            println!(
                "       the guest's kernel died at boot, as it does under emulation; see {}",
                kept.display()
            );
        }
        self.boot_once(machine)
    }

    fn boot_once(&self, machine: &Machine) -> Result<Guest> {
        let home = tempfile::Builder::new().prefix("remora-lab-").tempdir();
        let home = home.about("create a directory in", &std::env::temp_dir())?;
        self.fill_share(&home.path().join("share"))?;
        let agent = Door::open(&home.path().join("agent"), "the guest's agent")?;
        let qmp = Door::open(&home.path().join("qmp"), "QEMU's monitor")?;

        fs::create_dir_all(&self.logs).about("create", &self.logs)?;
        let errors = self.logs.join(QEMU_LOG);
        let log = File::create(&errors).about("create", &errors)?;
        let mut command = machine.command(&self.image, home.path())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut qemu = Process(command.spawn().about("start QEMU for", home.path())?);

        let deadline = Deadline::after(BOOT_TIMEOUT);
        let mut is_alive = || qemu_is_alive(&mut qemu.0, &errors);
        let agent = agent.accept(deadline, &mut is_alive)?;
        let connected = qmp.accept(deadline, &mut is_alive).and_then(Qmp::new);
        // Whatever the broken connection says, QEMU's own last words say it better.
        let qmp = connected.or_else(|error| is_alive().and(Err(error)))?;
        let logs = self.logs.clone();
        let mut guest = Guest { qemu, home, logs, agent, qmp, scripts: 0, ended: HashMap::new() };
        guest.await_ready(deadline)?;
        Ok(guest)
    }

    fn fill_share(&self, share: &Path) -> Result<()> {
        for name in ["bin", "guest", "run"] {
            let directory = share.join(name);
            fs::create_dir_all(&directory).about("create", &directory)?;
        }
        for binary in &self.binaries {
            let name = binary.file_name().unwrap_or_default();
            fs::copy(binary, share.join("bin").join(name)).about("copy", binary)?;
        }
        for (name, text) in SHELL {
            let path = share.join("guest").join(name);
            fs::write(&path, text).about("write", &path)?;
        }
        Ok(())
    }
}

/// QEMU's process, which ends with its owner, also when the guest never comes up.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let deadline = Deadline::after(END_TIMEOUT);
        while matches!(self.0.try_wait(), Ok(None)) && deadline.pause() {}
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn qemu_is_alive(qemu: &mut Child, errors: &Path) -> Result<()> {
    match qemu.try_wait().about("wait for QEMU, see", errors)? {
        None => Ok(()),
        Some(status) => {
            Err(LabError::GuestGone(format!("QEMU ended ({status}): {}", read_lossy(errors).trim())))
        }
    }
}

/// Whether a console tells of the death that [`Lab::boot`] knows.
fn died_patching_itself(console: &str) -> bool {
    console.contains("Oops: int3") && console.contains("Kernel panic")
}
