//! A `remora attach` process of a test's own.

#![allow(dead_code, reason = "each test program uses a part")]

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Where a test's attachments and files are.
pub struct Place(TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn text(&self, name: &str) -> String {
        self.path(name).into_os_string().into_string().unwrap()
    }

    /// A program that knows the test's attachments only.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("XDG_RUNTIME_DIR", self.0.path()).current_dir(self.0.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn remora(&self, arguments: &[&str]) -> Output {
        self.command(env!("CARGO_BIN_EXE_remora"), arguments).output().unwrap()
    }

    /// Attaches a device at the socket `NAME.sock`.
    pub fn attach(&self, device: &str, name: &str, more: &[&str]) -> Attached {
        let socket = self.text(&format!("{name}.sock"));
        let place = format!("unix:{socket}");
        let arguments = [&["attach", device, "--nbd", &place], more].concat();
        let mut child = self.command(env!("CARGO_BIN_EXE_remora"), &arguments).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        assert!(ready.starts_with("remora attach: ready, "), "{ready} {}", rest(&mut child));
        Attached { child, _stdout: stdout, ready, socket }
    }
}

fn rest(child: &mut Child) -> String {
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    text
}

/// A device that is attached.
pub struct Attached {
    pub child: Child,
    _stdout: BufReader<ChildStdout>,
    pub ready: String,
    pub socket: String,
}

impl Attached {
    pub fn uri(&self) -> String {
        format!("nbd+unix:///?socket={}", self.socket)
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Stops it in order; what it said on the way.
    pub fn stop(self) -> (ExitStatus, String) {
        self.signal(Signal::SIGTERM);
        self.end()
    }

    /// Waits for its end; what it said on the way.
    pub fn end(mut self) -> (ExitStatus, String) {
        let said = rest(&mut self.child);
        (self.child.wait().unwrap(), said)
    }

    /// Kills it.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // It may have been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs a program of somebody else to its end; what it wrote.
pub fn run(mut command: Command) -> String {
    let program = command.get_program().to_owned();
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "{}: {error}: these tests need nbdinfo, nbdcopy, nbdsh, qemu-img and fio \
             (Debian: libnbd-bin python3-libnbd qemu-utils fio)",
            program.display()
        )
    });
    assert!(output.status.success(), "{}: {output:?}", program.display());
    text(&output.stdout)
}
