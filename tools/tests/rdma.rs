//! `remora rdma` as people run it: real processes, on addresses of the loopback network that are each test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use block::MonotonicClock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// How long a client may take to notice that its server was killed. Mostly one second; machines are slow at times.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// Tries to get an address that another test program has.
const TRIES_MAX: u32 = 60;

fn remora(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remora"));
    command.args(["rdma"]).args(arguments.split_whitespace());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(arguments: &str) -> Output {
    remora(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// An address that no other test has, nor one of another run.
fn address(test: u8, which: u8) -> String {
    format!("127.{}.{test}.{which}", 100 + std::process::id() % 150)
}

/// A server that listens.
struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Server {
    fn start(arguments: &str) -> Self {
        for _ in 0..TRIES_MAX {
            let mut child = remora(arguments).spawn().unwrap();
            let mut stdout = BufReader::new(child.stdout.take().unwrap());
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            if line.starts_with("listening on ") {
                return Self { child, stdout };
            }
            let output = child.wait_with_output().unwrap();
            assert!(text(&output.stderr).contains(" is taken"), "{output:?}");
            wait(Duration::from_secs(1));
        }
        panic!("the address stays taken: {arguments}");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// Waits for the end: exit code, and what was printed.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        (self.child.wait().unwrap().code(), rest)
    }

    fn stop(self) -> (Option<i32>, String) {
        self.signal(Signal::SIGINT);
        self.end()
    }
}

#[allow(clippy::disallowed_methods, reason = "the other process needs time to run")]
fn wait(time: Duration) {
    std::thread::sleep(time);
}

fn assert_fails(output: &Output, code: i32, words: &str) {
    let stderr = text(&output.stderr);
    assert!(output.status.code() == Some(code) && stderr.contains(words), "{words}: {output:?}");
}

#[test]
fn the_loopback_interface_is_listed() {
    let list = text(&output("devices").stdout);
    assert!(list.lines().any(|line| line.starts_with("soft") && line.contains("127.0.0.1")), "{list}");
    let json: Value = serde_json::from_slice(&output("devices --output-format json").stdout).unwrap();
    let devices = json["devices"].as_array().unwrap();
    let has_loopback = |device: &Value| device["addresses"].as_array().unwrap().contains(&"127.0.0.1".into());
    let loopback = devices.iter().find(|device| has_loopback(device)).unwrap();
    assert_eq!((&loopback["provider"], &loopback["mtu"]), (&"soft".into(), &4096.into()));
    assert!(loopback["limits"]["queue_pairs_max"].as_u64().unwrap() > 0);
}

#[test]
fn pings_come_back_and_the_server_ends_with_its_count() {
    let (server_address, client_address) = (address(1, 1), address(1, 2));
    for (size, count) in [(64, 3), (16, 1), (5000, 200), (65_535, 20)] {
        // Nobody reads the server's words meanwhile: more than a pipe holds would stop it.
        let shows_data = count * size < 60_000;
        let verbose = if shows_data { "--verbose" } else { "" };
        let server = Server::start(&format!("ping --listen {server_address} --count {count} {verbose}"));
        let client = output(&format!(
            "ping {server_address}:7174 --local {client_address} --count {count} --size {size} --verbose"
        ));
        assert!(client.status.success(), "{client:?}");
        let stdout = text(&client.stdout);
        let lines: Vec<_> = stdout.lines().collect();
        assert_eq!(lines.len(), 2 * count + 1, "{stdout}");
        assert!(lines[0].starts_with(&format!("{size} bytes from {server_address}:7174: ping=0 time=")));
        assert!(lines[1].starts_with("ping data: rdma-ping-0: "), "{stdout}");
        assert!(
            lines[2 * count].starts_with(&format!("{count} pings of {size} bytes, 0 wrong; ")),
            "{stdout}"
        );
        let (code, told) = server.end();
        assert_eq!(code, Some(0));
        assert_eq!(told.contains("server ping data: rdma-ping-0: "), shows_data, "{told}");
        let bytes = count * size;
        assert!(
            told.contains(&format!("{client_address}:"))
                && told.contains(&format!(": {count} pings, {bytes} bytes each way; disconnected\n")),
            "{told}"
        );
    }
}

#[test]
fn pings_go_over_ipv6_too() {
    let listed: Value = serde_json::from_slice(&output("devices --output-format json").stdout).unwrap();
    let devices = listed["devices"].as_array().unwrap().iter();
    let addresses = devices.flat_map(|device| device["addresses"].as_array().unwrap().clone());
    let parsed = addresses.filter_map(|address| address.as_str()?.parse::<IpAddr>().ok());
    let is_second = |address: &IpAddr| match address {
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    };
    let Some(local) = parsed.into_iter().find(is_second) else {
        println!("NOT TESTED: the machine has no IPv6 address besides ::1");
        return;
    };
    let server = Server::start("ping --listen [::1]:7175");
    let client = output(&format!("ping [::1]:7175 --local {local} --count 3"));
    assert!(
        client.status.success() && text(&client.stdout).contains("3 pings of 64 bytes, 0 wrong"),
        "{client:?}"
    );
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn a_server_serves_one_client_at_a_time_and_then_the_next() {
    let server_address = address(2, 1);
    let server = Server::start(&format!("ping --listen {server_address}"));
    let mut first =
        remora(&format!("ping {server_address} --local {} --interval-ms 50", address(2, 2))).spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("ping=0"), "{line}");
    let second = format!("ping {server_address} --local {} --count 2", address(2, 3));
    assert_fails(
        &output(&second),
        1,
        "connection refused by the program there: another client is being served",
    );
    // An endless client is ended by a signal, which is no failure.
    kill(Pid::from_raw(i32::try_from(first.id()).unwrap()), Signal::SIGINT).unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(rest.lines().last().unwrap().contains(" pings of 64 bytes, 0 wrong; "), "{rest}");
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let again = output(&second);
    assert!(again.status.success(), "{again:?}");
    let (code, told) = server.stop();
    assert_eq!((code, told.lines().count()), (Some(0), 2), "{told}");
}

#[test]
fn refusals_are_told_in_words() {
    let server_address = address(3, 1);
    let server = Server::start(&format!("perf --listen {server_address}"));
    let local = address(3, 2);
    let nobody = output(&format!("ping {server_address}:9 --local {local} --count 1"));
    assert_fails(&nobody, 1, ":9: connection refused: nobody listens on that port\n");
    let foreign = output(&format!("ping {server_address}:18515 --local {local} --count 1"));
    assert_fails(&foreign, 1, "refused by the program there: no request of remora rdma perf\n");
    let (code, told) = server.stop();
    assert!(code == Some(0) && told.contains(" was refused: no request of remora rdma perf"), "{told}");
}

#[test]
fn an_address_that_nobody_has_does_not_answer() {
    let output = output(&format!("ping {} --local {} --count 1", address(4, 1), address(4, 2)));
    assert_fails(&output, 1, "7174 does not answer: the request to connect took more than 20 s\n");
}

#[test]
fn a_port_has_one_owner() {
    let server_address = address(5, 1);
    let server = Server::start(&format!("ping --listen {server_address}"));
    let words = format!("UDP port 4791 of {server_address} is taken: ");
    assert_fails(&output(&format!("ping --listen {server_address}:99")), 1, &words);
    assert_fails(&output(&format!("perf --listen {server_address}")), 1, &words);
    assert_fails(&output(&format!("ping {} --local {server_address} -c 1", address(5, 2))), 1, &words);
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn clients_notice_that_their_server_was_killed() {
    let clock = MonotonicClock::start();
    for (which, command) in [
        (1, "ping --interval-ms 10"),
        (3, "perf --op write --runtime 1h"),
        (5, "perf --op read --latency --runtime 1h"),
    ] {
        let (server_address, local) = (address(6, which), address(6, which + 1));
        let name = command.split_whitespace().next().unwrap();
        let server = Server::start(&format!("{name} --listen {server_address}"));
        let rest = command.strip_prefix(name).unwrap();
        let client = remora(&format!("{name} {server_address} --local {local} {rest}")).spawn().unwrap();
        wait(Duration::from_millis(700));
        server.signal(Signal::SIGKILL);
        let killed_at = clock.now();
        let output = client.wait_with_output().unwrap();
        assert!(clock.now().since(killed_at) < NOTICED_WITHIN, "{command}");
        let stderr = text(&output.stderr);
        let is_told = stderr.contains("no answer from the peer") || stderr.contains("does not answer");
        assert!(output.status.code() == Some(1) && is_told, "{command}: {output:?}");
        assert_eq!(server.end().0, None);
    }
}

#[test]
fn every_operation_is_measured() {
    let (server_address, local) = (address(7, 1), address(7, 2));
    let server = Server::start(&format!("perf --listen {server_address}"));
    for (arguments, op, bytes) in [
        ("--op send --size 4k --iters 300", "send", 4096),
        ("--op send --size 100 --latency --iters 50", "echo", 100),
        ("--op write --size 70000 --depth 3 --iters 40", "write", 70_000),
        ("--op write --size 1 --latency --poll always --iters 20", "write", 1),
        ("--op read --size 128k --depth 4 --iters 30", "read", 131_072),
        ("--op read --size 4k --latency --iters 50 --mtu 1024", "read", 4096),
        ("--op send --size 3000 --depth 2 --connections 3 --iters 100", "send", 3000),
        ("--op read --size 5000 --depth 2 --connections 5 --iters 31", "read", 5000),
    ] {
        let output =
            output(&format!("perf {server_address} --local {local} {arguments} --output-format json"));
        assert!(output.status.success(), "{arguments}: {output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let iters: u64 =
            arguments.split_once("--iters ").unwrap().1.split(' ').next().unwrap().parse().unwrap();
        assert_eq!((&report["op"], &report["operations"]), (&op.into(), &iters.into()), "{arguments}");
        assert_eq!(report["bytes"], iters * bytes, "{arguments}");
        let latency = |name: &str| report["latency_ns"][name].as_u64().unwrap();
        assert!(
            0 < latency("min") && latency("p50") <= latency("p99.9") && latency("p99.9") <= latency("max")
        );
        assert!(report["counters"]["packets_sent"].as_u64().unwrap() >= iters, "{arguments}");
    }
    let (code, told) = server.stop();
    assert!(
        code == Some(0)
            && told.contains("echo of 100 bytes, depth 1, ")
            && told.contains(" 50 messages received"),
        "{told}"
    );
}

#[test]
fn a_signal_ends_a_measurement_with_its_report() {
    let (server_address, local) = (address(8, 1), address(8, 2));
    let server = Server::start(&format!("perf --listen {server_address}"));
    let client = remora(&format!("perf {server_address} --local {local} --op read --size 4k --runtime 1h"))
        .spawn()
        .unwrap();
    wait(Duration::from_millis(900));
    kill(Pid::from_raw(i32::try_from(client.id()).unwrap()), Signal::SIGTERM).unwrap();
    let output = client.wait_with_output().unwrap();
    let report = text(&output.stdout);
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    assert!(
        report.starts_with("read of 4.00KiB, depth 32, connections 1, poll adaptive; soft on lo, "),
        "{report}"
    );
    for part in ["\n  bandwidth: ", "\n  latency: min ", "\n  processor: ", "\n  counters:  "] {
        assert!(report.contains(part), "{part} in {report}");
    }
    assert_eq!(server.stop().0, Some(0));
}

#[test]
fn arguments_that_cannot_be_are_refused() {
    for arguments in [
        "",
        "ping",
        "ping host",
        "ping 127.0.0.2:0",
        "ping 127.0.0.2 --listen 127.0.0.3",
        "ping 127.0.0.2 --count 0",
        "ping 127.0.0.2 --size 15",
        "ping 127.0.0.2 --size 65536",
        "ping 127.0.0.2 --mtu 1500",
        "ping 127.0.0.2 --provider hard",
        "ping 127.0.0.2 --local ::1",
        "ping 127.0.0.2 --interval-ms 30001",
        "ping --listen 127.0.0.2 --size 64",
        "perf",
        "perf 127.0.0.2 --op erase",
        "perf 127.0.0.2 --depth 0",
        "perf 127.0.0.2 --depth 2 --latency",
        "perf 127.0.0.2 --size 0",
        "perf 127.0.0.2 --size 2g",
        "perf 127.0.0.2 --size 1g --depth 2",
        "perf 127.0.0.2 --size 1g --depth 1 --connections 5",
        "perf 127.0.0.2 --iters 1 --runtime 1s",
        "perf 127.0.0.2 --connections 0",
        "perf 127.0.0.2 --cpu 1024",
        "perf --listen 127.0.0.2 --op read",
        "devices --output-format xml",
    ] {
        let output = output(arguments);
        assert!(output.status.code() == Some(2) && !output.stderr.is_empty(), "{arguments}: {output:?}");
    }
    // An address of some other machine.
    assert_fails(&output("ping --listen 203.0.113.7"), 1, "no soft device has the address 203.0.113.7");
}
