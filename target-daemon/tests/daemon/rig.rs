//! A target's process.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use target_daemon::control::client::Client;
use target_daemon::control::protocol::{Reply, Request};
use target_daemon::control::status::{NamespaceStatus, Status};

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_remora-target");

/// A folder for everything that a target writes.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts a target here, and waits until it is ready.
    pub(crate) fn start(&self, arguments: &[&str]) -> Target {
        self.try_start(arguments).unwrap_or_else(|failed| panic!("the target ended: {failed:?}"))
    }

    /// Starts a target that may refuse to.
    pub(crate) fn try_start(&self, arguments: &[&str]) -> Result<Target, Failed> {
        let control = self.path("control");
        let state = self.path("state");
        let mut command = Command::new(PROGRAM);
        command.args([OsStr::new("--control"), control.as_os_str()]);
        command.args([OsStr::new("--state-dir"), state.as_os_str()]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let said = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        let mut target = Target { child, said, log, control, ready: Vec::new() };
        if target.wait_until_ready() { Ok(target) } else { Err(target.failed()) }
    }
}

/// How a target ended that did not start.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) code: Option<i32>,
    pub(crate) log: String,
}

/// A process. It is killed when this is dropped.
pub(crate) struct Target {
    child: Child,
    said: Receiver<String>,
    log: Receiver<String>,
    control: PathBuf,
    /// What it said until it was ready.
    pub(crate) ready: Vec<String>,
}

/// Reads lines on a thread of their own, so that a full pipe stops nobody.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Target {
    fn wait_until_ready(&mut self) -> bool {
        while let Ok(line) = self.said.recv_timeout(PATIENCE) {
            let is_ready = line.starts_with("remora-target: ready, ");
            self.ready.push(line);
            if is_ready {
                return true;
            }
        }
        false
    }

    fn failed(&mut self) -> Failed {
        let code = self.wait().code();
        Failed { code, log: self.log.iter().collect::<Vec<_>>().join("\n") }
    }

    pub(crate) fn control(&self) -> &Path {
        &self.control
    }

    /// The word that follows another in what it said until it was ready.
    pub(crate) fn said_after(&self, word: &str) -> String {
        let mut words = self.ready.iter().flat_map(|line| line.split(' '));
        words.find(|other| *other == word);
        words.next().unwrap_or_else(|| panic!("`{word}` in {:?}", self.ready)).to_owned()
    }

    /// The name of its only subsystem.
    pub(crate) fn nqn(&self) -> String {
        self.said_after("subsystem")
    }

    pub(crate) fn ask(&self, request: &Request) -> Reply {
        Client::connect(&self.control).unwrap().ask(request).unwrap()
    }

    pub(crate) fn status(&self) -> Status {
        match self.ask(&Request::Status {}) {
            Reply::Status(status) => *status,
            other => panic!("{other:?}"),
        }
    }

    /// Namespaces of the only subsystem.
    pub(crate) fn namespaces(&self) -> Vec<NamespaceStatus> {
        self.status().subsystems.remove(0).namespaces
    }

    pub(crate) fn devices(&self) -> Vec<(u32, String)> {
        self.namespaces().into_iter().map(|namespace| (namespace.nsid, namespace.device)).collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the target does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the log tells until it ends.
    pub(crate) fn rest_of_log(&self) -> Vec<String> {
        self.log.iter().collect()
    }

    /// Waits for a line of the log with these words.
    pub(crate) fn wait_for_log(&self, words: &str) -> String {
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(PATIENCE) {
            if line.contains(words) {
                return line;
            }
            seen.push(line);
        }
        panic!("`{words}` in {seen:?}")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A request to export a device under a number.
pub(crate) fn add(nsid: u32, device: &str) -> Request {
    Request::AddNamespace {
        nqn: None,
        nsid: Some(nsid),
        device: device.to_owned(),
        read_only: false,
        uuid: None,
        nguid: None,
    }
}

/// A request to export it no longer.
pub(crate) fn remove(nsid: u32) -> Request {
    Request::RemoveNamespace { nqn: None, nsid }
}
