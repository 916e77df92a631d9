//! Start, questions, signals, end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;
use target_daemon::control::client::Client;
use target_daemon::control::protocol::{Reply, Request};
use target_daemon::control::status::NamespaceState;

use crate::host::{HOST, Host};
use crate::rig::{PROGRAM, Place};

#[test]
fn the_shortest_start_serves_and_sigterm_ends_it() {
    let place = Place::new();
    let device = format!("soft-nvme:{}?size=16MiB", place.path("d.img").display());
    let mut target = place.start(&["--listen", "127.0.70.1", "--namespace", &device, "--allow-any-host"]);
    assert_eq!(target.said_after("listening"), "127.0.70.1:4420");
    let status = target.status();
    assert_eq!(format!("{},", status.pid), target.said_after("pid"));
    assert_eq!(status.listening, ["127.0.70.1:4420"]);
    let subsystem = &status.subsystems[0];
    assert_eq!(subsystem.nqn, target.nqn());
    assert!(subsystem.allow_any_host);
    let namespace = &subsystem.namespaces[0];
    assert_eq!((namespace.nsid, &namespace.device, namespace.state), (1, &device, NamespaceState::Exported));
    assert_eq!(u64::from(namespace.block_bytes) * namespace.blocks, 16 << 20);
    target.signal(Signal::TERM);
    assert_eq!(target.wait().code(), Some(0));
    assert!(!target.control().exists(), "the socket is gone");
}

#[test]
fn drain_is_answered_and_ends_it() {
    let place = Place::new();
    let mut target = place.start(&["--listen", "127.0.70.2", "--namespace", "mem:1MiB"]);
    target.wait_for_log("no host may attach");
    let mut client = Client::connect(target.control()).unwrap();
    assert_eq!(client.ask(&Request::Drain {}).unwrap(), Reply::Draining {});
    client.wait_for_end(std::time::Duration::from_secs(60)).unwrap();
    assert_eq!(target.wait().code(), Some(0));
}

/// What is served over HTTP.
fn scrape(target: &crate::rig::Target) -> String {
    let url = target.said_after("metrics");
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/metrics").unwrap();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: target\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    text
}

/// The value of the metric with this name and these labels.
fn value(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).trim().parse().unwrap()
}

#[test]
fn metrics_tell_of_namespaces_and_hosts() {
    let place = Place::new();
    let address = "127.0.70.3";
    let arguments =
        ["--listen", address, "--namespace", "mem:1MiB", "--metrics", "127.0.0.1:0", "--host", HOST];
    let target = place.start(&arguments);
    let host = Host::attach(address, &target.nqn(), 1);
    host.goes_on();
    let nqn = target.nqn();
    let attached = format!("remora_target_controllers{{subsystem=\"{nqn}\"}}");
    assert_eq!(value(&scrape(&target), &attached), 1);
    assert_eq!(host.leave().errors, []);
    let text = scrape(&target);
    let namespace = format!("subsystem=\"{nqn}\",nsid=\"1\"");
    assert_eq!(value(&text, &format!("remora_target_namespace_size_bytes{{{namespace}}}")), 1 << 20);
    let of_host = |what| format!("remora_target_host_{what}_total{{host=\"{HOST}\",op=\"read\"}}");
    let reads = value(&text, &of_host("commands"));
    assert!(reads > 3, "{reads}");
    assert_eq!(value(&text, &of_host("data_bytes")), reads * 4096);
    let writes = format!("remora_target_namespace_commands_total{{{namespace},op=\"write\"}}");
    assert_eq!(value(&text, &writes), reads, "each is read back");
}

#[test]
fn check_tells_what_is_wrong_by_line() {
    let place = Place::new();
    let bad = place.write("bad.toml", "version = 1\n\nlisten = ['nowhere']\n");
    let check = |path: &std::path::Path| {
        Command::new(PROGRAM).arg("--config").arg(path).arg("--check").output().unwrap()
    };
    let output = check(&bad);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with(&format!("{}:3: `nowhere` is no address", bad.display())), "{said}");
    let good = place.write("good.toml", "version = 1\n[[subsystem]]\nnqn = 'nqn.2024-05.com.example:a'\n");
    let output = check(&good);
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b"good (subsystems: 1, namespaces: 0)\n"[..])
    );
    let failed = place.try_start(&["--config", bad.to_str().unwrap()]).err().unwrap();
    assert_eq!(failed.code, Some(2), "{failed:?}");
}

#[test]
fn what_cannot_be_started_says_why() {
    let place = Place::new();
    let failed =
        place.try_start(&["--listen", "127.0.70.4", "--namespace", "file:/nowhere/d"]).err().unwrap();
    assert_eq!(failed.code, Some(1));
    assert!(failed.log.contains("nothing can be exported\n  namespace 1 of nqn."), "{}", failed.log);
    assert!(failed.log.contains("file:/nowhere/d: not found"), "{}", failed.log);
    let failed = place.try_start(&["--listen", "192.0.2.1", "--namespace", "mem:1MiB"]).err().unwrap();
    assert_eq!(failed.code, Some(1));
    assert!(failed.log.contains("192.0.2.1"), "{}", failed.log);
    let failed = place.try_start(&["--listne", "127.0.70.4"]).err().unwrap();
    assert_eq!(failed.code, Some(2));
}

#[test]
fn one_broken_device_takes_no_other_with_it() {
    let place = Place::new();
    let missing = place.path("missing");
    let device = format!("file:{}", missing.display());
    let target = place.start(&["--listen", "127.0.70.5", "--namespace", &device, "--namespace", "mem:1MiB"]);
    let states: Vec<_> = target.namespaces().into_iter().map(|of| (of.state, of.error)).collect();
    assert_eq!(states[1], (NamespaceState::Exported, None));
    assert_eq!(states[0].0, NamespaceState::Failed);
    assert!(states[0].1.as_ref().unwrap().contains("not found"), "{states:?}");
    // It is there again: reading the configuration again exports it.
    std::fs::write(&missing, vec![0; 1 << 20]).unwrap();
    let Reply::Reloaded(reloaded) = target.ask(&Request::Reload {}) else { panic!("it is reloaded") };
    assert_eq!((reloaded.changes, reloaded.errors), (1, Vec::new()));
    assert_eq!(target.namespaces()[0].state, NamespaceState::Exported);
}

#[test]
fn two_targets_do_not_share_a_place() {
    let place = Place::new();
    let _first = place.start(&["--listen", "127.0.70.6", "--namespace", "mem:1MiB"]);
    let failed = place.try_start(&["--listen", "127.0.70.7", "--namespace", "mem:1MiB"]).err().unwrap();
    assert!(failed.log.contains("another target uses it"), "{failed:?}");
    let other = place.path("other");
    let arguments = ["--listen", "127.0.70.7", "--namespace", "mem:1MiB", "--state-dir"];
    let mut arguments = arguments.to_vec();
    arguments.push(other.to_str().unwrap());
    let output =
        Command::new(PROGRAM).args(arguments).arg("--control").arg(place.path("control")).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another target listens there"), "{said}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_device_that_is_gone_is_taken_from_hosts_and_comes_back_by_a_reload() {
    let (behind, front, nqn) = ("127.0.70.12", "127.0.70.13", "nqn.2024-05.com.example:behind");
    let places = [Place::new(), Place::new()];
    let arguments = ["--listen", behind, "--nqn", nqn, "--namespace", "mem:1MiB", "--allow-any-host"];
    let back = places[0].start(&arguments);
    let device = format!("rdma://{behind}/{nqn}?ns=1&ctrl_loss_timeout_s=1&keep_alive_ms=1000");
    let target = places[1].start(&["--listen", front, "--namespace", &device, "--namespace", "mem:2MiB"]);
    back.kill();
    target.wait_for_log("the device is gone");
    let states = || target.namespaces().into_iter().map(|of| (of.state, of.error)).collect::<Vec<_>>();
    let gone = (NamespaceState::Failed, Some("its device is gone".to_owned()));
    let good = (NamespaceState::Exported, None);
    assert_eq!(states(), [gone, good.clone()]);
    let Reply::Reloaded(reloaded) = target.ask(&Request::Reload {}) else { panic!("it is reloaded") };
    assert_eq!((reloaded.changes, reloaded.errors.len()), (0, 1), "it is still gone");
    let _back = places[0].start(&arguments);
    let Reply::Reloaded(reloaded) = target.ask(&Request::Reload {}) else { panic!("it is reloaded") };
    assert_eq!((reloaded.changes, reloaded.errors), (1, Vec::new()));
    assert_eq!(states(), [good.clone(), good]);
}

/// A target whose only namespace is another target's, which is stopped while a host writes: its I/O does not end.
struct Stuck {
    front: crate::rig::Target,
    behind: crate::rig::Target,
    _host: Host,
    _places: [Place; 2],
}

fn stuck(behind: &str, front: &str, drain_timeout_s: u32) -> Stuck {
    let places = [Place::new(), Place::new()];
    let back = places[0].start(&["--listen", behind, "--namespace", "mem:1MiB", "--allow-any-host"]);
    let device = format!("rdma://{behind}/{}?ns=1", back.nqn());
    let nqn = "nqn.2024-05.com.example:front";
    let text = format!(
        "version = 1\nlisten = ['{front}']\ndrain_timeout_s = {drain_timeout_s}\n[[subsystem]]\nnqn = '{nqn}'\n\
         allow_any_host = true\n[[subsystem.namespace]]\nnsid = 1\ndevice = '{device}'\n"
    );
    let path = places[1].write("t.toml", &text);
    let target = places[1].start(&["--config", path.to_str().unwrap()]);
    let host = Host::attach(front, nqn, 1);
    back.signal(Signal::STOP);
    // A process stops a little after the signal: what is in the device now may still be answered.
    crate::rig::eventually("a command is in the device, and stays", || {
        let is_in_device = target.status().reactors.iter().any(|reactor| reactor.in_devices > 0);
        is_in_device && host.stands_still()
    });
    Stuck { front: target, behind: back, _host: host, _places: places }
}

#[test]
fn draining_is_bounded() {
    let mut stuck = stuck("127.0.70.8", "127.0.70.9", 1);
    stuck.front.signal(Signal::TERM);
    assert_eq!(stuck.front.wait().code(), Some(1));
    stuck.front.wait_for_log("was abandoned");
    stuck.behind.signal(Signal::CONT);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut stuck = stuck("127.0.70.10", "127.0.70.11", 3600);
    stuck.front.signal(Signal::TERM);
    stuck.front.wait_for_log("draining");
    assert_eq!(stuck.front.ask(&Request::Status {}), Reply::error("the target is ending"));
    stuck.front.signal(Signal::TERM);
    assert_eq!(stuck.front.wait().code(), Some(128 + 15));
    stuck.behind.signal(Signal::CONT);
}
