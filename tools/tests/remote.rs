//! The commands that ask remote targets, against a target that is another process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A target that exports a software SSD and memory.
struct Target {
    child: Child,
    address: String,
    nqn: String,
}

impl Target {
    /// On an address that is free. Another test may take it first: then on another.
    fn start() -> Self {
        free_addresses().find_map(Self::start_at).expect("a target is ready and names its subsystem")
    }

    fn start_at(address: String) -> Option<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_remora"))
            .args(["__target", "--listen", &address, "--allow-any-host", "--control", "none"])
            .args(["--namespace", "soft-nvme:?size=64MiB", "--namespace", "mem:32MiB?bs=4096"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut nqn = None;
        for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
            nqn = line.strip_prefix("remora-target: subsystem ").map(str::to_owned).or(nqn);
            if line.starts_with("remora-target: ready, ") {
                break;
            }
        }
        let mut target = Self { child, address, nqn: String::new() };
        target.nqn = nqn?;
        Some(target)
    }

    fn uri(&self, of: &str) -> String {
        format!("rdma://{}/{of}", self.address)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_addresses() -> impl Iterator<Item = String> {
    let process = std::process::id();
    let number = move |shift: u32| (process >> shift) & 0x7f;
    let candidates = (1..255).map(move |last| format!("127.{}.{}.{last}", 40 + (number(7) & 15), number(0)));
    candidates.filter(|address| UdpSocket::bind((address.as_str(), 4791)).is_ok())
}

fn remora(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_remora")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(arguments: &[&str]) -> String {
    let output = remora(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&text(&[arguments, &["--output-format", "json"]].concat())).unwrap()
}

#[test]
fn a_target_is_asked_in_nvme_clis_words() {
    let target = Target::start();
    let Target { address, nqn, .. } = &target;

    let log = text(&["discover", address]);
    assert!(log.starts_with("\nDiscovery Log Number of Records 2, Generation counter "), "{log}");
    assert!(
        log.contains("subtype: nvme subsystem\ntreq:    not specified, sq flow control disable supported\n"),
        "{log}"
    );
    assert!(log.contains(&format!("\nsubnqn:  {nqn}\ntraddr:  {address}\n")), "{log}");
    assert_eq!(text(&["discover", "-t", "rdma", "-a", address, "-s", "4420"]), log);
    let records = json(&["discover", address]);
    assert_eq!(records["records"][0]["subtype"], "current discovery subsystem");
    assert_eq!(records["records"][1]["subnqn"], nqn.as_str());

    let list = json(&["list", address]);
    let namespaces = &list["subsystems"][0]["namespaces"];
    assert_eq!(
        (&namespaces[0]["size_bytes"], &namespaces[0]["block_bytes"]),
        (&(64 << 20).into(), &512.into())
    );
    assert_eq!((&namespaces[1]["nsid"], &namespaces[1]["block_bytes"]), (&2.into(), &4096.into()));
    assert_eq!(list["problems"], serde_json::json!([]));
    let device = namespaces[1]["device"].as_str().unwrap();
    assert!(text(&["list", &format!("rdma://{address}")]).contains(device));
    text(&["bench", device, "--rw", "randrw", "--size", "2m", "--verify", "crc32c"]);

    let controller = json(&["id-ctrl", &target.uri(nqn)]);
    assert_eq!((&controller["subnqn"], &controller["cntrltype"]), (&nqn.as_str().into(), &1.into()));
    let discovery = target.uri("nqn.2014-08.org.nvmexpress.discovery");
    assert_eq!(json(&["id-ctrl", &discovery])["cntrltype"], 2);
    assert_eq!(json(&["id-ns", device])["nsze"], 8192);
    assert_eq!(json(&["id-ns", &target.uri(nqn)])["nsze"], 131_072);
    assert!(text(&["smart-log", device]).contains("Kelvin"));
    let health = text(&["get-log", device, "--log-id", "2", "--log-len", "512"]);
    assert!(health.starts_with(&format!("Device:{device} log-id:2 namespace-id:0xffffffff\n")), "{health}");
    assert_eq!(health.lines().count(), 2 + 32);
    let raw = remora(&["get-log", device, "-i", "2", "-l", "512", "--raw-binary"]).stdout;
    assert_eq!(raw.len(), 512);
}

#[test]
fn what_is_not_there_is_told() {
    let target = Target::start();
    let Target { address, nqn, .. } = &target;
    let refused = |arguments: &[&str]| {
        let output = remora(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let stranger = target.uri("nqn.2024-05.com.example:nobody");
    assert!(refused(&["id-ctrl", &stranger]).contains(&stranger));
    let nothing = format!("{}?ns=7", target.uri(nqn));
    assert!(refused(&["bench", &nothing]).contains("ns=7"));
    let port = refused(&["discover", &format!("{address}:4421")]);
    assert!(port.contains(&format!("{address}:4421: ")), "{port}");
    let listed = refused(&["list", address, &format!("{address}:4421")]);
    assert!(listed.contains("4421"), "{listed}");
    for wrong in [&["discover"][..], &["discover", "1.2.3"], &["discover", address, "-a", address]] {
        assert_eq!(remora(wrong).status.code(), Some(2), "{wrong:?}");
    }
}
