//! A target's process.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use super::error::{DemoError, check};
use super::stage::Stage;

/// The hidden subcommand that a target's process runs: this program again, as `remora-target`, and no longer than the demo.
pub const TARGET_COMMAND: &str = "__demo-target";

/// What a target's line begins with once it listens.
const READY: &str = "remora-target: ready, pid ";

/// Longest time until a target is ready.
const READY_MAX: Duration = Duration::from_secs(15);

/// Longest time until a target that is asked to end has ended.
const END_MAX: Duration = Duration::from_secs(15);

/// Lines of a target's log that are shown when it fails.
const LOG_LINES_MAX: usize = 20;

/// The port of NVMe over RDMA.
const PORT: u16 = 4420;

/// The whole of a target's process. It ends when the process that started it ends, however that happens.
#[must_use]
pub fn target_process(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return ExitCode::FAILURE;
    }
    target_daemon::main(std::iter::once("remora-target".into()).chain(arguments))
}

/// What a target is to be.
#[derive(Clone, Debug)]
pub(super) struct Role {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    /// The device that it exports.
    pub(super) device: String,
    /// Where its standard error goes.
    pub(super) log: PathBuf,
}

/// A target that runs. It is killed when this value goes.
pub(super) struct Target {
    role: Role,
    child: Child,
    lines: Receiver<String>,
}

impl Target {
    /// Starts a process and waits until it listens.
    pub(super) fn start(role: &Role, stage: &Stage<'_>) -> Result<Self, DemoError> {
        let failed = |source| DemoError::Start { name: role.name, source };
        let log = File::options().create(true).append(true).open(&role.log);
        let log = log.map_err(|source| DemoError::File { path: role.log.clone(), source })?;
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args([TARGET_COMMAND, "--allow-any-host", "--provider", "soft", "--control", "none"])
            .args(["--listen", &role.address.to_string(), "--namespace", &role.device])
            // A terminal's Ctrl-C is for the demo, which ends its targets itself.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let lines = read_lines(child.stdout.take());
        let mut target = Self { role: role.clone(), child, lines };
        target.wait_until_ready(stage)?;
        Ok(target)
    }

    fn wait_until_ready(&mut self, stage: &Stage<'_>) -> Result<(), DemoError> {
        let mut ended = false;
        let lines = &self.lines;
        let is_ready = stage.wait(READY_MAX, || match lines.try_recv() {
            Ok(line) => Ok(line.starts_with(READY)),
            Err(TryRecvError::Empty) => Ok(false),
            Err(TryRecvError::Disconnected) => {
                ended = true;
                Ok(true)
            }
        })?;
        if is_ready && !ended {
            return Ok(());
        }
        let how =
            if ended { "ended at once".to_owned() } else { format!("was not ready after {READY_MAX:?}") };
        Err(DemoError::NotReady { name: self.role.name, how, log: self.log() })
    }

    pub(super) fn role(&self) -> &Role {
        &self.role
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.role.address.into(), PORT)
    }

    /// Kills it as `kill -9` does, and waits until the kernel has nothing left of it.
    pub(super) fn kill(mut self) -> Result<(), DemoError> {
        let failed = |source| DemoError::Start { name: self.role.name, source };
        self.child.kill().map_err(failed)?;
        let status = self.child.wait().map_err(failed)?;
        let is_killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(Signal::KILL.as_raw());
        check(is_killed, || format!("{} ended by itself ({status}) before it was killed", self.role.name))
    }

    /// Asks it to end, as a service's manager does, and waits until it has.
    pub(super) fn end(mut self, stage: &Stage<'_>) -> Result<(), DemoError> {
        let name = self.role.name;
        if let Some(pid) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)
                .map_err(|source| DemoError::Start { name, source: source.into() })?;
        }
        let child = &mut self.child;
        let mut status: Option<ExitStatus> = None;
        stage.wait(END_MAX, || {
            status = child.try_wait().map_err(|source| DemoError::Start { name, source })?;
            Ok(status.is_some())
        })?;
        check(status.is_some_and(|status| status.success()), || match status {
            Some(status) => format!("{name} did not end in order ({status}); it said:\n{}", self.log()),
            None => format!("{name} had not ended {END_MAX:?} after it was asked to"),
        })
    }

    /// Fails if the process is not there any more.
    pub(super) fn check_alive(&mut self) -> Result<(), DemoError> {
        let status = self.child.try_wait();
        let status = status.map_err(|source| DemoError::Start { name: self.role.name, source })?;
        check(status.is_none(), || {
            format!("the target {} ended by itself; it said:\n{}", self.role.name, self.log())
        })
    }

    /// The last lines of what it wrote to standard error.
    fn log(&self) -> String {
        let log = fs::read_to_string(&self.role.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Both do nothing to a process that has been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a process, read by a thread that ends with it.
fn read_lines(stdout: Option<ChildStdout>) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    if let Some(stdout) = stdout {
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                // Nobody may listen any more; the pipe is emptied all the same, so that the process is not held up.
                let _ = sender.send(line);
            }
        });
    }
    lines
}
