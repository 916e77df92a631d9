//! A running guest: scripts run in it, hardware changed under it.

mod boot;
mod channel;
mod pair;
mod qmp;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

pub use boot::Lab;
use boot::{BOOT_TIMEOUT, Process};
use channel::Channel;
pub use pair::{LEFT, Pair, RIGHT};
pub use qmp::{Qmp, Traffic};

use crate::clock::Deadline;
use crate::error::{Context, LabError, Result};
use crate::program::tail;

/// For scripts whose duration is not the point.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(180);

/// How often the output of a script is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The guest's console, among the logs that are kept.
const CONSOLE_LOG: &str = "serial.log";

/// QEMU's own log, among those that are kept.
const QEMU_LOG: &str = "qemu.log";

/// Lines of a script's output, and of the console's, that an error repeats.
const LINES_SHOWN: usize = 25;

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
    qemu: Process,
    home: TempDir,
    logs: PathBuf,
    scripts: u32,
    ended: HashMap<u32, i32>,
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

    /// QEMU's process.
    pub fn qemu_id(&self) -> u32 {
        self.qemu.id()
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

    /// Waits until a script that runs has printed this.
    pub fn await_output(&mut self, task: &Task, words: &str) -> Result<()> {
        let deadline = Deadline::after(SCRIPT_TIMEOUT);
        while !self.printed(task).contains(words) {
            if let Some(status) = self.ended.get(&task.number) {
                let (script, output) = (task.script.clone(), self.printed(task));
                let ended = Outcome { script, status: *status, output };
                return Err(ended.unexpected(&format!("before it said \"{words}\"")));
            }
            if let Some(line) = self.agent.line(Deadline::after(LOOK_EVERY))? {
                self.note(&line);
            }
            if deadline.left().is_none() {
                let what = format!(
                    "\"{words}\" from `{}`, which printed so far:\n{}",
                    task.script.trim(),
                    self.shown(task)
                );
                return Err(LabError::Late { what, waited: SCRIPT_TIMEOUT });
            }
        }
        Ok(())
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

fn read_lossy(path: &Path) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
