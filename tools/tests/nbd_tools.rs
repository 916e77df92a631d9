//! Other people's programs on what `remora attach` offers: fio, nbdinfo, nbdcopy, nbdsh, qemu-img.
//!
//! They need those programs, so `cargo test --workspace` leaves them out; CI runs them with
//! `cargo test -p remora-tools --test nbd_tools -- --ignored`, and a program that is missing is a failure there.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod attached;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use attached::{Attached, Place, run};
use serde_json::Value;

const MIB: usize = 1 << 20;

/// The devices that everything is tried on; none of them needs hardware.
fn devices(place: &Place) -> Vec<String> {
    vec![
        "mem:128MiB?bs=4096".to_owned(),
        "soft-nvme:?size=128MiB".to_owned(),
        format!("file:{}?size=128MiB", place.text("disk.img")),
    ]
}

/// Bytes that are different at every place, and the same in every run.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut noise = Vec::with_capacity(bytes);
    while noise.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        noise.extend(state.to_le_bytes());
    }
    noise.truncate(bytes);
    noise
}

fn fio(place: &Place, attached: &Attached, more: &[&str]) -> Command {
    let uri = format!("--uri={}", attached.uri());
    let common =
        ["--name=verify", "--ioengine=nbd", &uri, "--verify=crc32c", "--verify_fatal=1", "--size=64m"];
    place.command("fio", &[&common, more].concat())
}

/// nbdsh is a Python of the system's, whatever else is in the path.
fn nbdsh(place: &Place, attached: &Attached, script: &str) -> Command {
    let mut command = place.command("/usr/bin/python3", &["-m", "nbd", "-u", &attached.uri(), "-c", script]);
    command.stdin(Stdio::null());
    command
}

#[test]
#[ignore = "needs fio with its NBD engine"]
fn fio_finds_what_it_wrote() {
    let place = Place::new();
    for device in devices(&place) {
        let attached = place.attach(&device, "a", &[]);
        for more in [
            &["--rw=randwrite", "--bs=4k", "--iodepth=32"][..],
            &["--rw=randrw", "--bsrange=4k-256k", "--iodepth=16", "--verify_async=1"],
            &["--rw=write", "--bs=1m", "--iodepth=4", "--fsync=8"],
        ] {
            run(fio(&place, &attached, more));
        }
        let (status, said) = attached.stop();
        assert!(status.success(), "{device}: {said}");
    }
}

#[test]
#[ignore = "needs nbdinfo"]
fn nbdinfo_reads_what_the_device_is() {
    let place = Place::new();
    let attached = place.attach("mem:128MiB?bs=4096", "a", &["--name", "disk"]);
    let told = run(place.command("nbdinfo", &["--json", &attached.uri()]));
    let told: Value = serde_json::from_str(&told).unwrap();
    let export = &told["exports"][0];
    assert_eq!(told["protocol"], "newstyle-fixed");
    assert_eq!(told["structured"], true);
    for (key, value) in [
        ("export-size", Value::from(128 << 20)),
        ("description", Value::from("mem:128MiB?bs=4096")),
        ("is_read_only", Value::from(false)),
        ("can_multi_conn", Value::from(true)),
        ("can_flush", Value::from(true)),
        ("can_fua", Value::from(true)),
        ("can_trim", Value::from(true)),
        ("can_zero", Value::from(true)),
        ("can_fast_zero", Value::from(true)),
        ("can_df", Value::from(true)),
        ("block_size_minimum", Value::from(4096)),
        ("block_size_maximum", Value::from(32 << 20)),
    ] {
        assert_eq!(export[key], value, "{key}");
    }
    assert_eq!(export["contexts"], serde_json::json!(["base:allocation"]));
    let list: Value =
        serde_json::from_str(&run(place.command("nbdinfo", &["--list", "--json", &attached.uri()]))).unwrap();
    assert_eq!(list["exports"][0]["export-name"], "disk");
    run(nbdsh(&place, &attached, "h.pwrite(b'x' * 4096, 64 * 1024 * 1024)"));
    let map: Value =
        serde_json::from_str(&run(place.command("nbdinfo", &["--map", "--json", &attached.uri()]))).unwrap();
    let types: Vec<_> =
        map.as_array().unwrap().iter().map(|extent| extent["type"].as_u64().unwrap()).collect();
    assert_eq!(types, [3, 0, 3]);
}

#[test]
#[ignore = "needs nbdcopy"]
fn nbdcopy_brings_back_what_it_took() {
    let place = Place::new();
    let mut data = noise(128 * MIB);
    data[10 * MIB..90 * MIB].fill(0);
    fs::write(place.path("there"), &data).unwrap();
    for device in devices(&place) {
        let attached = place.attach(&device, "a", &[]);
        for more in
            [&["--connections=4", "--requests=64"][..], &["--synchronous"], &["--destination-is-zero"]]
        {
            let there = place.text("there");
            run(place.command("nbdcopy", &[more, &["--flush", &there, &attached.uri()]].concat()));
            run(place.command("nbdcopy", &[&attached.uri(), &place.text("back")]));
            assert!(fs::read(place.path("back")).unwrap() == data, "{device} {more:?}");
        }
        assert!(attached.stop().0.success());
    }
}

#[test]
#[ignore = "needs qemu-img"]
fn qemu_converts_and_compares() {
    let place = Place::new();
    let mut data = noise(128 * MIB);
    data[MIB..100 * MIB].fill(0);
    fs::write(place.path("there"), &data).unwrap();
    for device in devices(&place) {
        let attached = place.attach(&device, "a", &[]);
        let disk = format!("nbd:unix:{}:exportname=a", attached.socket);
        let qemu = |arguments: &[&str]| run(place.command("qemu-img", arguments));
        qemu(&["convert", "-n", "-f", "raw", "-O", "raw", "there", &disk]);
        assert!(qemu(&["compare", "-f", "raw", "-F", "raw", "there", &disk]).contains("identical"));
        qemu(&["convert", "-f", "raw", "-O", "qcow2", &disk, "back.qcow2"]);
        assert!(qemu(&["compare", "-f", "raw", "-F", "qcow2", "there", "back.qcow2"]).contains("identical"));
        assert!(attached.stop().0.success());
    }
}

#[test]
#[ignore = "needs nbdsh"]
fn odd_cases() {
    let place = Place::new();
    for device in devices(&place) {
        let attached = place.attach(&device, "a", &[]);
        let told = run(nbdsh(&place, &attached, include_str!("fixtures/nbd/odd.py")));
        assert_eq!(told, "odd cases: all as they should be\n");
        let (status, said) = attached.stop();
        assert!(status.success(), "{device}: {said}");
        assert_eq!(said.matches("said once").count(), 1, "{said}");
    }
}

/// A target of a test's own.
struct Target<'a> {
    place: &'a Place,
    address: String,
    child: Child,
}

const NQN: &str = "nqn.2024-05.com.example:nbd-tools";

impl<'a> Target<'a> {
    fn start(place: &'a Place) -> Self {
        let address = format!("127.{}.66.1:4420", 100 + std::process::id() % 150);
        let child = Self::process(place, &address);
        Self { place, address, child }
    }

    fn process(place: &Place, address: &str) -> Child {
        let device = format!("file:{}?size=256MiB", place.text("target.img"));
        let arguments = [
            "__target",
            "--listen",
            address,
            "--namespace",
            &device,
            "--nqn",
            NQN,
            "--allow-any-host",
            "--control",
            "none",
        ];
        let mut child =
            place.command(env!("CARGO_BIN_EXE_remora"), &arguments).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("ready")), "the target does not begin");
        child
    }

    fn kill_and_start_again(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::process(self.place, &self.address);
    }
}

impl Drop for Target<'_> {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "needs fio with its NBD engine, and nbdsh"]
fn a_remote_namespace_is_a_device_like_others_and_outlives_its_targets_death() {
    let place = Place::new();
    let mut target = Target::start(&place);
    let device = format!("rdma://{}/{NQN}?ns=1", target.address);
    let attached = place.attach(&device, "remote", &[]);
    run(nbdsh(&place, &attached, include_str!("fixtures/nbd/odd.py")));
    let verify = ["--rw=randwrite", "--bs=4k", "--iodepth=16", "--io_size=128m"];
    let running = fio(&place, &attached, &verify).spawn().unwrap();
    for _ in 0..2 {
        let before = attached_bytes(&place);
        while attached_bytes(&place) < before + (4 << 20) {}
        target.kill_and_start_again();
    }
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let (status, said) = attached.stop();
    assert!(status.success(), "{said}");
}

/// Bytes that clients of the only attachment have written.
fn attached_bytes(place: &Place) -> u64 {
    let output = place.remora(&["attachments", "--json"]);
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    listed[0]["counters"]["written_bytes"].as_u64().unwrap()
}

/// The software SSD keeps what was not flushed in memory, so a killed process loses it, as a drive loses its cache.
#[test]
#[ignore = "needs nbdsh"]
fn what_was_flushed_outlives_a_kill() {
    let place = Place::new();
    let devices = [
        format!("soft-nvme:{}?size=64MiB", place.text("ssd.img")),
        format!("file:{}?size=64MiB", place.text("f")),
    ];
    for device in devices {
        let attached = place.attach(&device, "a", &[]);
        let write = "
h.set_strict_mode(0)
for i in range(256):
    h.pwrite(bytes([i]) * 4096, i * 16384)
h.flush()
for i in range(64):
    h.pwrite(bytes([i + 1]) * 5000, 8 * 1024 * 1024 + i * 16384, nbd.CMD_FLAG_FUA)
buffers = [nbd.Buffer.from_bytearray(bytearray(b'x' * 4096)) for i in range(64)]
for i in range(64):
    h.aio_pwrite(buffers[i], 32 * 1024 * 1024 + i * 4096)
";
        run(nbdsh(&place, &attached, write));
        attached.kill();
        let attached = place.attach(&device, "a", &[]);
        let check = "
h.set_strict_mode(0)
for i in range(256):
    assert h.pread(4096, i * 16384) == bytes([i]) * 4096, i
for i in range(64):
    assert h.pread(5000, 8 * 1024 * 1024 + i * 16384) == bytes([i + 1]) * 5000, i
";
        run(nbdsh(&place, &attached, check));
        assert!(attached.stop().0.success());
    }
}
