//! The command as people run it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn remora(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remora"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

fn output(arguments: &str) -> Output {
    remora(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(arguments: &str) -> Value {
    let output = output(&format!("{arguments} --output-format json"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_verified_run_reports_in_fios_fields() {
    let report = json(
        "bench mem:16MiB?bs=4096 --rw randrw --rwmixread 70 --bs 4k --iodepth 32 --numjobs 2 \
                       --runtime 700ms --ramp-time 100ms --verify crc32c --fsync 64",
    );
    let job = &report["jobs"][0];
    assert_eq!(job["error"], 0);
    let count = |name: &str| job[name]["total_ios"].as_u64().unwrap();
    let share = count("read") as f64 / (count("read") + count("write")) as f64;
    assert!((0.65..0.75).contains(&share), "{share} of all were reads");
    assert!(count("sync") > 0);
    assert_eq!(job["verify"]["wrong_blocks"], 0);
    assert!(job["verify"]["blocks"].as_u64().unwrap() > 1000);
    // Two jobs of 700 ms each, and the ramp was not measured.
    let runtime_ms = job["job_runtime"].as_u64().unwrap();
    assert!((1400..3000).contains(&runtime_ms), "{runtime_ms}");
    let read = &job["read"];
    let percentile = |percent: &str| read["clat_ns"]["percentile"][percent].as_u64().unwrap();
    assert!(percentile("50.000000") <= percentile("99.000000"));
    assert!(read["lat_ns"]["mean"].as_f64().unwrap() >= read["clat_ns"]["mean"].as_f64().unwrap());
    let bytes = read["io_bytes"].as_u64().unwrap();
    assert_eq!(bytes, count("read") * 4096);
}

#[test]
fn without_a_runtime_a_run_does_its_size_once() {
    let report = json("bench mem:1MiB --rw randwrite --bs 4k --size 512k --iodepth 3");
    assert_eq!(report["jobs"][0]["write"]["total_ios"], 128);
    let report = json("bench null: --rw read --bs 1m --size 1g --numjobs 2");
    assert_eq!(report["jobs"][0]["read"]["io_bytes"], 2u64 << 30);
}

#[test]
fn discards_and_forced_writes_are_done() {
    assert_eq!(json("bench mem:1MiB --rw trim --bs 64k")["jobs"][0]["trim"]["total_ios"], 16);
    assert_eq!(json("bench mem:1MiB --rw write --bs 64k --fua")["jobs"][0]["write"]["total_ios"], 16);
}

#[test]
fn a_rate_is_kept_without_keeping_a_processor() {
    let report = json("bench null:1TiB --rw randread --rate-iops 200 --iodepth 4 --runtime 2");
    let job = &report["jobs"][0];
    let iops = job["read"]["iops"].as_f64().unwrap();
    assert!((190.0..210.0).contains(&iops), "{iops}");
    let cpu = job["usr_cpu"].as_f64().unwrap() + job["sys_cpu"].as_f64().unwrap();
    assert!(cpu < 50.0, "an idle job used {cpu} % of a processor");
}

#[test]
fn the_report_is_text_unless_told_otherwise_and_goes_where_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report");
    let output = output(&format!("bench mem:1MiB --rw write --bs 4k --output {}", file.display()));
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let report = fs::read_to_string(file).unwrap();
    assert!(
        report.contains("  write: IOPS=") && report.contains("Run status group 0 (all jobs):"),
        "{report}"
    );
}

#[test]
fn refusals_are_one_line_and_exit_code_2() {
    for (arguments, words) in [
        (
            "bench mem:1MiB --bs 1000",
            "remora: --bs 1000: not a multiple of the device's blocks of 512 bytes\n",
        ),
        ("bench nvm:1MiB", "remora: `nvm:` is no kind of device: write one of nvme:, soft-nvme:"),
        ("bench mem:1MiB?x=1", "remora: unknown parameter `x`"),
        ("bench mem:1MiB --size 2m", "remora: --offset 0 --size 2097152: the device has 1048576 bytes\n"),
        (
            "bench soft-nvme:?size=1MiB --iodepth 65536 --numjobs 2",
            "remora: no queue: a queue of depth 65536 cannot be made: 1 to ",
        ),
        ("bench mem:1MiB --verify crc32c", "remora: --verify: --rw read writes nothing"),
        ("bench mem:1MiB --cpus-allowed 2000", "remora: "),
    ] {
        let output = output(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.starts_with(words) && stderr.lines().count() == 1, "{stderr}");
        assert!(output.stdout.is_empty());
    }
    for arguments in ["bench mem:1MiB --iodepth 0", "bench mem:1MiB --rw sideways", "bench", "walk"] {
        assert_eq!(output(arguments).status.code(), Some(2), "{arguments}");
    }
}

#[test]
fn help_and_version_are_told() {
    let version = output("--version");
    assert_eq!(text(&version.stdout), format!("remora {}\n", env!("CARGO_PKG_VERSION")));
    let help = text(&output("bench --help").stdout);
    for option in ["--rwmixread", "--iodepth", "--rate-iops", "--verify", "--output-format", "Exit codes:"] {
        assert!(help.contains(option), "{option} in {help}");
    }
}

#[test]
fn fios_own_spelling_is_taken() {
    let output = output(
        "bench mem:1MiB --readwrite=randrw --blocksize=4k --ramp_time=0 --runtime=10ms --time_based \
                         --output_format=json --rate_iops=1000 --cpus_allowed=0",
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_signal_ends_the_run_in_order_with_a_report() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut command = remora("bench mem:1MiB --rw randrw --runtime 1h --rate-iops 1000 --verify crc32c");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait(Duration::from_millis(700));
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        let mut report = String::new();
        child.stdout.take().unwrap().read_to_string(&mut report).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code));
        assert!(report.contains("  read: IOPS=") && report.contains("Run status group 0"), "{report}");
    }
}

#[allow(clippy::disallowed_methods, reason = "the other process needs time to run")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

#[test]
fn a_state_file_that_is_none_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "nothing of the kind, but long enough for the header").unwrap();
    let output =
        output(&format!("bench mem:1MiB --verify crc32c --verify-state-load {}", file.path().display()));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).ends_with("not a verify state file of this program\n"), "{output:?}");
}

#[test]
fn what_is_there_after_a_restart_is_found() {
    for device in ["soft-nvme:", "file:"] {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("state");
        let device = format!("{device}{}?size=16MiB", folder.path().join("image").display());
        let common = format!("bench {device} --bs 8k --iodepth 8 --numjobs 2 --verify crc32c");
        let state = state.display();
        let write = output(&format!("{common} --rw randrw --runtime 300ms --verify-state-save {state}"));
        assert!(write.status.success(), "{}", text(&write.stderr));
        let found = json(&format!("{common} --rw randread --size 8m --verify-state-load {state}"));
        let verify = &found["jobs"][0]["verify"];
        assert!(
            verify["blocks"].as_u64().unwrap() > 100 && verify["wrong_blocks"] == 0,
            "{device}: {verify}"
        );
        let more = output(&format!("{common} --rw randrw --runtime 100ms --verify-state-load {state}"));
        assert!(more.status.success(), "{device}: {}", text(&more.stderr));
        // The state is the first run's; since then the blocks were written again.
        let stale = output(&format!("{common} --rw read --verify-state-load {state}"));
        assert_eq!(stale.status.code(), Some(1));
        assert!(text(&stale.stderr).contains(": never written: "), "{device}: {}", text(&stale.stderr));
    }
}

#[test]
fn what_is_not_there_after_a_restart_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let state = state.display();
    let write =
        output(&format!("bench mem:1MiB --rw write --bs 4k --verify crc32c --verify-state-save {state}"));
    assert!(write.status.success(), "{}", text(&write.stderr));
    // Memory does not survive the process.
    let read =
        output(&format!("bench mem:1MiB --rw read --bs 4k --verify crc32c --verify-state-load {state}"));
    assert_eq!(read.status.code(), Some(1));
    let stderr = text(&read.stderr);
    assert!(stderr.starts_with(
        "remora: verify: offset 0, block 0, job 0: zeroed: expected generation 1, found zeroes\n"
    ));
    assert!(stderr.contains("\n  0000  00 00 00 00 "), "{stderr}");
}

#[test]
fn the_doctors_exit_code_is_its_verdict() {
    let report = json("doctor");
    assert!(report["findings"].as_array().unwrap().len() > 10);
    for verdict in report["uses"].as_array().unwrap() {
        let of = verdict["use"].as_str().unwrap();
        let code = output(&format!("doctor {of}")).status.code();
        assert_eq!(code, Some(if verdict["possible"] == true { 0 } else { 1 }), "{of}");
    }
    assert_eq!(output("doctor headache").status.code(), Some(2));
}
