//! `remora demo` as people run it, its claims looked at from outside, and demos that must fail.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test waits for other processes")]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Longest time until the processes of a demo that was killed are gone.
const GONE_MAX: Duration = Duration::from_secs(20);

/// A demo that runs, with a folder for temporary files of its own.
struct Demo {
    child: Child,
    lines: BufReader<ChildStdout>,
    folder: TempDir,
    /// The targets' processes, in the order in which they were told of.
    targets: Vec<u32>,
}

/// What came of it.
struct Ended {
    status: ExitStatus,
    said: String,
    complained: String,
    targets: Vec<u32>,
    left_behind: Vec<PathBuf>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_remora"))
            .args(["demo", "--quick"])
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, folder, targets: Vec::new() }
    }

    /// Reads up to a line that has these words; what was read. Looks at each target as soon as it is told of.
    fn read_until(&mut self, words: &str) -> String {
        let mut said = String::new();
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            said.push_str(&line);
            if let Some(pid) = target_in(&line) {
                self.look_at_target(pid);
            }
            if line.contains(words) {
                break;
            }
            line.clear();
        }
        said
    }

    /// A target is a process of its own, and the demo's child.
    fn look_at_target(&mut self, pid: u32) {
        let command = fs::read_to_string(format!("/proc/{pid}/cmdline"));
        let command = command.unwrap_or_else(|error| panic!("process {pid}: {error}"));
        assert!(command.contains("__demo-target\0") && command.contains("--listen\0"), "{command:?}");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains(&format!("\nPPid:\t{}\n", self.child.id())), "{status}");
        self.targets.push(pid);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn end(mut self) -> Ended {
        let said = self.read_until("no line has these words");
        let mut complained = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut complained).unwrap();
        let status = self.child.wait().unwrap();
        let left_behind =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        Ended { status, said, complained, targets: self.targets, left_behind }
    }
}

impl Ended {
    /// However it ended, nothing of it is there any more.
    fn check_left_nothing(&self) {
        assert!(self.left_behind.is_empty(), "{:?}", self.left_behind);
        assert!(self.targets.len() >= 2);
        for pid in &self.targets {
            assert!(!is_target(*pid), "process {pid} is still there");
        }
    }

    /// It failed, and said why.
    fn check_failed(&self, because: &str) {
        assert_eq!(self.status.code(), Some(1), "{}\n{}", self.said, self.complained);
        assert!(self.complained.contains("remora demo: FAILED: "), "{}", self.complained);
        assert!(self.complained.contains(because), "{}", self.complained);
        assert!(!self.said.contains("All checks passed"), "{}", self.said);
        self.check_left_nothing();
    }
}

/// The process of a line such as `alpha  process 4711, listens at ...`.
fn target_in(line: &str) -> Option<u32> {
    let (_, rest) = line.split_once("process ")?;
    let (pid, what) = rest.split_once([' ', ','])?;
    if what.contains("listens ") { pid.parse().ok() } else { None }
}

fn is_target(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|command| command.contains("__demo-target"))
}

#[test]
fn it_does_what_it_says_and_leaves_nothing() {
    let mut demo = Demo::start(&[]);
    let pid = demo.child.id();
    let mut said = demo.read_until(" I/O are in flight to it");
    assert!(said.contains(&format!("the host is this one, process {pid}")), "{said}");
    let [alpha, beta] = demo.targets[..] else { panic!("two targets were told of: {said}") };
    assert_eq!((is_target(alpha), is_target(beta)), (false, true), "one is dead now: {said}");
    said += &demo.read_until("listens where the old one did");
    let again = demo.targets[2];
    assert!(again != alpha && is_target(again) && is_target(beta), "{said}");
    let ended = demo.end();
    assert!(ended.status.success(), "{said}{}\n{}", ended.said, ended.complained);
    assert_eq!(ended.complained, "");
    assert!(ended.said.contains("\nAll checks passed"), "{}", ended.said);
    // 16 MiB in blocks of 512 bytes, on both.
    assert_eq!(ended.said.matches(" 32,768 blocks of step 4: all there;").count(), 2, "{}", ended.said);
    ended.check_left_nothing();
}

#[test]
fn a_lost_block_fails_it() {
    let ended = Demo::start(&["--sabotage", "lose-block"]).end();
    ended.check_failed("I/O on alpha:\nverify: offset 8388608, block 16384, job 0: lost or overwritten");
}

#[test]
fn a_target_that_lives_on_fails_it() {
    let ended = Demo::start(&["--sabotage", "spare-target"]).end();
    ended.check_failed("alpha answered I/O after it was killed");
}

#[test]
fn a_kill_without_io_in_flight_fails_it() {
    let ended = Demo::start(&["--sabotage", "idle-host"]).end();
    ended.check_failed("alpha was killed while no I/O was in flight");
}

#[test]
fn a_target_that_stays_away_fails_it() {
    let ended = Demo::start(&["--sabotage", "stay-dead"]).end();
    ended.check_failed("no I/O was answered within");
}

#[test]
fn control_c_ends_it_in_order_even_while_io_is_held() {
    let mut demo = Demo::start(&[]);
    demo.read_until(" I/O are in flight to it");
    demo.signal(Signal::SIGINT);
    let ended = demo.end();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.complained);
    assert!(ended.complained.contains("stopped by a signal"), "{}", ended.complained);
    ended.check_left_nothing();
}

#[test]
fn its_targets_do_not_outlive_it() {
    let mut demo = Demo::start(&[]);
    demo.read_until("I/O a second");
    assert!(demo.targets.iter().all(|pid| is_target(*pid)));
    demo.signal(Signal::SIGKILL);
    let ended = demo.end();
    assert!(!ended.status.success());
    let start = Instant::now();
    while ended.targets.iter().any(|pid| is_target(*pid)) {
        assert!(start.elapsed() < GONE_MAX, "a target outlives the demo");
        std::thread::sleep(Duration::from_millis(20));
    }
}
