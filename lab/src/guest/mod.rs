//! A running guest: scripts run in it, hardware changed under it.

mod channel;
mod qmp;

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use channel::{Channel, Door};
pub use qmp::{Qmp, Traffic};

use crate::clock::Deadline;
use crate::error::{Context, LabError, Result};
use crate::image::Image;
use crate::machine::Machine;
use crate::program::tail;

/// From QEMU's start to the guest's first word. Seconds on an idle machine.
const BOOT_TIMEOUT: Duration = Duration::from_secs(120);

/// For scripts whose duration is not the point.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(180);

/// For QEMU to end when told to.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Boots of which the last must succeed; see [`Lab::boot`].
const BOOTS_MAX: u32 = 3;

/// The guest's console, among the logs that are kept.
const CONSOLE_LOG: &str = "serial.log";

/// QEMU's own log, among those that are kept.
const QEMU_LOG: &str = "qemu.log";

/// Lines of a script's output, and of the console's, that an error repeats.
const LINES_SHOWN: usize = 25;

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

/// A script that runs in the guest.
#[derive(Debug)]
#[must_use = "a script that nobody waits for may fail unseen"]
pub struct Task {
    number: u32,
    script: String,
}

/// What a script ended with.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The script.
    pub script: String,
    /// Its exit status.
    pub status: i32,
    /// Everything it printed.
    pub output: String,
}

/// A guest. It ends when dropped.
#[derive(Debug)]
pub struct Guest {
    agent: Channel,
    qmp: Qmp,
    /// Told to end by the guest's own drop; dropped before the directory that it works in.
    _qemu: Process,
    home: TempDir,
    logs: PathBuf,
    scripts: u32,
    ended: HashMap<u32, i32>,
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
        let mut guest = Guest { _qemu: qemu, home, logs, agent, qmp, scripts: 0, ended: HashMap::new() };
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
        for (name, text) in [("start.sh", include_str!("start.sh")), ("lib.sh", include_str!("lib.sh"))] {
            let path = share.join("guest").join(name);
            fs::write(&path, text).about("write", &path)?;
        }
        Ok(())
    }
}

impl Guest {
    /// Runs a script that must succeed, and returns what it printed.
    pub fn run(&mut self, script: &str) -> Result<String> {
        self.run_within(script, SCRIPT_TIMEOUT)
    }

    /// Runs a script that must succeed within a time.
    pub fn run_within(&mut self, script: &str, timeout: Duration) -> Result<String> {
        let task = self.start(script)?;
        let outcome = self.wait(task, timeout)?;
        if outcome.status == 0 { Ok(outcome.output) } else { Err(outcome.unexpected("it must succeed")) }
    }

    /// Runs a script that must fail, and returns what it printed.
    pub fn run_failing(&mut self, script: &str) -> Result<Outcome> {
        let task = self.start(script)?;
        let outcome = self.wait(task, SCRIPT_TIMEOUT)?;
        if outcome.status == 0 { Err(outcome.unexpected("it must fail")) } else { Ok(outcome) }
    }

    /// Starts a script, which runs beside what comes next.
    pub fn start(&mut self, script: &str) -> Result<Task> {
        self.scripts += 1;
        let number = self.scripts;
        let path = self.script_file(number, "sh");
        fs::write(&path, script).about("write", &path)?;
        self.agent.send(&number.to_string())?;
        Ok(Task { number, script: script.to_owned() })
    }

    /// Waits for a script's end.
    pub fn wait(&mut self, task: Task, timeout: Duration) -> Result<Outcome> {
        let deadline = Deadline::after(timeout);
        while !self.ended.contains_key(&task.number) {
            let Some(line) = self.agent.line(deadline)? else {
                let what = format!("`{}`, which printed so far:\n{}", task.script.trim(), self.shown(&task));
                return Err(LabError::Late { what, waited: timeout });
            };
            self.note(&line);
        }
        let status = self.ended.remove(&task.number).unwrap_or(-1);
        Ok(Outcome { output: self.printed(&task), script: task.script, status })
    }

    /// Waits until a namespace's backend has written so much.
    pub fn await_written(&mut self, nsid: u32, bytes: u64) -> Result<()> {
        let deadline = Deadline::after(SCRIPT_TIMEOUT);
        while self.qmp.traffic(nsid)?.bytes_written < bytes {
            if !deadline.pause() {
                let what = format!("{bytes} bytes to be written to namespace {nsid}");
                return Err(LabError::Late { what, waited: SCRIPT_TIMEOUT });
            }
        }
        Ok(())
    }

    /// QEMU's monitor.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// What the console says, kernel messages above all.
    pub fn console(&self) -> String {
        read_lossy(&self.home.path().join(CONSOLE_LOG))
    }

    /// What QEMU saw happen to the controller: the events of `pci_nvme_*` that are traced.
    pub fn hardware_log(&self) -> String {
        read_lossy(&self.logs.join(QEMU_LOG))
    }

    fn await_ready(&mut self, deadline: Deadline) -> Result<()> {
        while let Some(line) = self.agent.line(deadline).map_err(|error| self.with_console(&error))? {
            if line == "ready" {
                return Ok(());
            }
        }
        Err(self.with_console(&LabError::Late { what: "the guest's boot".to_owned(), waited: BOOT_TIMEOUT }))
    }

    fn with_console(&self, error: &LabError) -> LabError {
        LabError::GuestGone(format!("{error}; its console:\n{}", tail(&self.console(), LINES_SHOWN)))
    }

    /// Takes "done NUMBER STATUS" of the agent.
    fn note(&mut self, line: &str) {
        let mut words = line.split_whitespace().skip_while(|word| *word != "done").skip(1);
        let mut number = || words.next()?.parse::<i64>().ok();
        if let (Some(script), Some(status)) = (number(), number()) {
            let script = u32::try_from(script).unwrap_or_default();
            self.ended.insert(script, i32::try_from(status).unwrap_or(-1));
        }
    }

    fn printed(&self, task: &Task) -> String {
        read_lossy(&self.script_file(task.number, "out"))
    }

    fn shown(&self, task: &Task) -> String {
        tail(&self.printed(task), LINES_SHOWN)
    }

    fn script_file(&self, number: u32, extension: &str) -> PathBuf {
        self.home.path().join("share/run").join(format!("{number}.{extension}"))
    }

    /// Copies the console and each script with its output to where logs are kept.
    fn keep_logs(&self) -> Result<()> {
        let serial = self.home.path().join(CONSOLE_LOG);
        fs::copy(&serial, self.logs.join(CONSOLE_LOG)).about("copy", &serial)?;
        let run = self.home.path().join("share/run");
        for entry in fs::read_dir(&run).about("read", &run)? {
            let path = entry.about("read", &run)?.path();
            fs::copy(&path, self.logs.join(path.file_name().unwrap_or_default())).about("copy", &path)?;
        }
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.keep_logs() {
            eprintln!("the guest's logs are lost: {error}");
        }
        // It may be gone already, which is as good.
        let _ = self.qmp.run("quit", &json!({}));
    }
}

impl Outcome {
    /// The story's failure when this is not what it must be.
    pub fn unexpected(&self, why: &str) -> LabError {
        let Self { script, status, output } = self;
        let output = tail(output, LINES_SHOWN);
        LabError::Story(format!("`{}` ended with {status}, {why}. It printed:\n{output}", script.trim()))
    }

    /// Fails unless all of these words are in what was printed, in any letters.
    pub fn says(&self, words: &[&str]) -> Result<()> {
        let output = self.output.to_lowercase();
        match words.iter().find(|word| !output.contains(&word.to_lowercase())) {
            None => Ok(()),
            Some(word) => Err(self.unexpected(&format!("and does not say \"{word}\""))),
        }
    }
}

/// QEMU's process, which ends with its owner, also when the guest never comes up.
#[derive(Debug)]
struct Process(Child);

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

fn read_lossy(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
