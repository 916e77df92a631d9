//! `remora target` and `remora __target` as processes: one is asked by the other.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const REMORA: &str = env!("CARGO_BIN_EXE_remora");

/// A target, killed when this is dropped.
struct Target {
    child: Child,
    folder: tempfile::TempDir,
}

impl Target {
    fn start(listen: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(REMORA)
            .args([
                "__target",
                "--listen",
                listen,
                "--namespace",
                "mem:1MiB",
                "--allow-any-host",
                "--control",
            ])
            .arg(folder.path().join("control"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut target = Self { child, folder };
        let said = BufReader::new(target.child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(said.into_iter().any(|line| line.starts_with("remora-target: ready, ")), "it starts");
        target
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("control")
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        let control = self.control();
        Command::new(REMORA).arg("target").args(arguments).arg("--control").arg(control).output().unwrap()
    }

    fn words(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--output-format", "json"]].concat();
        serde_json::from_str(&self.words(&arguments)).unwrap()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_target_is_asked_changed_and_ended() {
    let mut target = Target::start("127.0.73.1");
    let status = target.json(&["status"]);
    assert_eq!(status["pid"], target.child.id());
    let nqn = status["subsystems"][0]["nqn"].as_str().unwrap().to_owned();
    assert_eq!(status["subsystems"][0]["namespaces"][0]["device"], "mem:1MiB");
    assert!(target.words(&["status"]).contains(&format!("subsystem {nqn}\n")));
    let added = target.words(&["add-namespace", "mem:2MiB", "--nsid", "9", "--read-only"]);
    let until = "until it ends (without a state directory nothing is kept)";
    assert_eq!(added, format!("namespace 9 added to {nqn} {until}\n"));
    let lines = target.words(&["status"]);
    let line = lines.lines().find(|line| line.ends_with("mem:2MiB")).unwrap();
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>()[..5],
        ["9", "2.00MiB", "512", "read-only", "(added)"]
    );
    let removed = target.json(&["remove-namespace", "9"]);
    assert_eq!(removed, serde_json::json!({ "nqn": nqn, "nsid": 9, "is_kept": false }));
    assert_eq!(target.words(&["reload"]), "0 changes made\n");
    assert_eq!(target.words(&["drain"]), "drained, and ended\n");
    assert_eq!(target.child.wait().unwrap().code(), Some(0));
}

#[test]
fn what_cannot_be_is_said() {
    let target = Target::start("127.0.73.2");
    let output = target.ask(&["remove-namespace", "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("remora: there is no namespace 5 of nqn."));
    let output = target.ask(&["add-namespace"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let nobody =
        Command::new(REMORA).args(["target", "status", "--control", "/nowhere/control"]).output().unwrap();
    assert_eq!(nobody.status.code(), Some(1));
    let said = String::from_utf8(nobody.stderr).unwrap();
    assert!(said.starts_with("remora: cannot reach a target at /nowhere/control: "), "{said}");
}
