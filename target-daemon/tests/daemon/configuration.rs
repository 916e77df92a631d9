//! The configuration is changed while hosts are attached.

use std::path::PathBuf;

use block::{Event, IoError};
use rustix::process::Signal;
use target_daemon::control::protocol::{Reloaded, Reply, Request};

use crate::host::{HOST, Host};
use crate::rig::{Place, Target, add, eventually, remove};

const NQN: &str = "nqn.2024-05.com.example:a";

/// A configuration, with these keys of the one subsystem and these namespaces.
fn configure(place: &Place, address: &str, keys: &str, namespaces: &[(u32, &str)]) -> PathBuf {
    let namespace = |(nsid, device): &(u32, &str)| {
        format!("[[subsystem.namespace]]\nnsid = {nsid}\ndevice = '{device}'\n")
    };
    let namespaces: String = namespaces.iter().map(namespace).collect();
    let text =
        format!("version = 1\nlisten = ['{address}']\n[[subsystem]]\nnqn = '{NQN}'\n{keys}\n{namespaces}");
    place.write("t.toml", &text)
}

fn start(place: &Place, path: &std::path::Path) -> Target {
    place.start(&["--config", path.to_str().unwrap()])
}

fn reload(target: &Target) -> Reloaded {
    match target.ask(&Request::Reload {}) {
        Reply::Reloaded(reloaded) => reloaded,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_reload_changes_what_differs_and_disturbs_nobody() {
    let place = Place::new();
    let address = "127.0.72.1";
    let any = "allow_any_host = true";
    let path = configure(&place, address, any, &[(1, "mem:1MiB"), (2, "mem:2MiB")]);
    let target = start(&place, &path);
    let host = Host::attach(address, NQN, 1);
    configure(&place, address, any, &[(1, "mem:1MiB"), (3, "mem:3MiB")]);
    assert_eq!(reload(&target), Reloaded { changes: 2, ..Default::default() });
    assert_eq!(target.devices(), [(1, "mem:1MiB".to_owned()), (3, "mem:3MiB".to_owned())]);
    host.goes_on();
    // By the signal too.
    configure(&place, address, any, &[(1, "mem:1MiB")]);
    target.signal(Signal::HUP);
    eventually("namespace 3 is removed", || target.devices() == [(1, "mem:1MiB".to_owned())]);
    host.goes_on();
    let status = target.status();
    let controller = &status.controllers[0];
    assert_eq!((controller.host.as_str(), controller.subsystem.as_str()), (HOST, NQN));
    let io = status.subsystems[0].namespaces[0].io;
    assert!(io.reads > 0 && io.writes > 0 && io.errors == 0, "{io:?}");
    let of_host = status.hosts.iter().find(|host| host.nqn == HOST).unwrap();
    assert!(of_host.io.read_bytes >= 4096, "{of_host:?}");
    let seen = host.leave();
    assert_eq!(seen.errors, [], "{seen:?}");
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let place = Place::new();
    let path = configure(&place, "127.0.72.2", "", &[(1, "mem:1MiB")]);
    let target = start(&place, &path);
    place.write("t.toml", "version = 1\nlisten = ['127.0.72.2']\nnew_key = 1\n");
    let Reply::Error { message } = target.ask(&Request::Reload {}) else { panic!("it is refused") };
    assert!(message.starts_with(&format!("{}:3: unknown field `new_key`", path.display())), "{message}");
    target.signal(Signal::HUP);
    target.wait_for_log("not reloaded:");
    assert_eq!(target.devices(), [(1, "mem:1MiB".to_owned())]);
}

#[test]
fn the_log_tells_more_after_a_reload() {
    let place = Place::new();
    let configure =
        |level| place.write("t.toml", &format!("version = 1\nlisten = ['127.0.72.11']\nlog = '{level}'\n"));
    let target = start(&place, &configure("error"));
    assert_eq!(reload(&target), Reloaded::default());
    configure("info");
    assert_eq!(reload(&target), Reloaded::default());
    target.wait_for_log("configuration reloaded");
    configure("error");
    assert_eq!(reload(&target), Reloaded::default());
    let mut target = target;
    target.signal(Signal::TERM);
    target.wait();
    assert_eq!(target.rest_of_log(), [""; 0], "what was told before is told no more");
}

#[test]
fn what_needs_a_restart_is_said() {
    let place = Place::new();
    let path = configure(&place, "127.0.72.3", "serial = 'S1'", &[]);
    let target = start(&place, &path);
    configure(&place, "127.0.72.4", "serial = 'S2'", &[]);
    let needs = ["listen".to_owned(), format!("subsystem {NQN}: serial")];
    assert_eq!(reload(&target), Reloaded { needs_restart: needs.into(), ..Default::default() });
    assert_eq!(target.status().listening, ["127.0.72.3:4420"]);
}

#[test]
fn what_was_changed_at_run_time_outlives_a_reload() {
    let place = Place::new();
    let path = configure(&place, "127.0.72.5", "", &[(1, "mem:1MiB"), (2, "mem:2MiB")]);
    let target = start(&place, &path);
    target.ask(&add(7, "mem:7MiB"));
    target.ask(&remove(1));
    assert_eq!(reload(&target), Reloaded::default());
    assert_eq!(target.devices(), [(2, "mem:2MiB".to_owned()), (7, "mem:7MiB".to_owned())]);
    // The configuration has something of its own there now.
    configure(&place, "127.0.72.5", "", &[(2, "mem:2MiB"), (7, "mem:9MiB")]);
    let note = format!("namespace 7 of {NQN}: the configuration has mem:9MiB there now, no longer mem:7MiB");
    assert_eq!(reload(&target), Reloaded { changes: 2, notes: vec![note], ..Default::default() });
    assert_eq!(target.devices(), [(2, "mem:2MiB".to_owned()), (7, "mem:9MiB".to_owned())]);
}

#[test]
fn what_was_added_to_a_subsystem_waits_for_it_or_is_forgotten() {
    let place = Place::new();
    let path = configure(&place, "127.0.72.10", "", &[]);
    let target = start(&place, &path);
    target.ask(&add(7, "mem:7MiB"));
    target.ask(&add(8, "mem:8MiB"));
    place.write("t.toml", "version = 1\nlisten = ['127.0.72.10']\n");
    let aside =
        |nsid| format!("namespace {nsid} of {NQN} is kept aside: the configuration has no such subsystem");
    assert_eq!(
        reload(&target),
        Reloaded { changes: 1, notes: [7, 8].map(aside).into(), ..Default::default() }
    );
    assert_eq!(target.status().subsystems, []);
    let forget = Request::RemoveNamespace { nqn: Some(NQN.to_owned()), nsid: 8 };
    assert!(matches!(target.ask(&forget), Reply::NamespaceRemoved(_)));
    assert!(matches!(target.ask(&forget), Reply::Error { .. }), "once");
    configure(&place, "127.0.72.10", "", &[]);
    assert_eq!(reload(&target), Reloaded { changes: 2, ..Default::default() });
    assert_eq!(target.devices(), [(7, "mem:7MiB".to_owned())]);
}

#[test]
fn a_host_that_may_no_longer_attach_is_dropped_and_others_are_not_let_in() {
    let place = Place::new();
    let address = "127.0.72.6";
    let listed = format!("hosts = ['{HOST}']");
    let path = configure(&place, address, &listed, &[(1, "mem:1MiB")]);
    let target = start(&place, &path);
    let host = Host::attach(address, NQN, 1);
    let stranger = format!("rdma://{address}/{NQN}?ns=1&hostnqn=nqn.2024-05.com.example:stranger");
    let refused = target_daemon::devices::openers().open_text(&stranger, &block::OpenOptions::READ);
    assert!(refused.is_err(), "a host that is not listed");
    assert_eq!(target.status().controllers.len(), 1);
    configure(&place, address, "", &[(1, "mem:1MiB")]);
    assert_eq!(reload(&target), Reloaded { changes: 1, ..Default::default() });
    eventually("the host is dropped", || target.status().controllers.is_empty());
    drop(host);
}

#[test]
fn a_namespace_that_is_removed_ends_for_its_host_and_another_comes() {
    let place = Place::new();
    let address = "127.0.72.7";
    let path = configure(&place, address, "allow_any_host = true", &[(1, "mem:1MiB"), (2, "mem:2MiB")]);
    let target = start(&place, &path);
    let (host, other) = (Host::attach(address, NQN, 1), Host::attach(address, NQN, 2));
    assert_eq!((host.blocks(), other.blocks()), (2048, 4096));
    assert!(matches!(target.ask(&remove(1)), Reply::NamespaceRemoved(_)));
    let seen = host.fails();
    let is_end = |error: &IoError| !matches!(error, IoError::TimedOut);
    assert!(seen.errors.iter().all(is_end), "it is told, and does not wait: {seen:?}");
    other.goes_on();
    assert!(matches!(target.ask(&add(1, "mem:8MiB")), Reply::NamespaceAdded(_)));
    let again = Host::attach(address, NQN, 1);
    assert_eq!(again.blocks(), 16_384);
    assert_eq!(again.leave().errors, []);
    assert_eq!(other.leave().errors, []);
}

#[test]
fn a_target_that_ends_lets_commands_end() {
    let place = Place::new();
    let address = "127.0.72.8";
    let path = configure(&place, address, "allow_any_host = true", &[(1, "mem:1MiB")]);
    let mut target = start(&place, &path);
    let host = Host::attach(address, NQN, 1);
    target.signal(Signal::TERM);
    assert_eq!(target.wait().code(), Some(0), "all was answered in time");
    drop(host);
}

#[test]
fn a_host_learns_that_its_device_has_grown() {
    let place = Place::new();
    let address = "127.0.72.9";
    let file = place.write("d.img", "");
    let set_len = |bytes| std::fs::File::options().write(true).open(&file).unwrap().set_len(bytes).unwrap();
    set_len(1 << 20);
    let device = format!("file:{}?direct=0", file.display());
    let path = configure(&place, address, "allow_any_host = true", &[(1, &device)]);
    let target = start(&place, &path);
    let host = Host::attach(address, NQN, 1);
    assert_eq!(host.blocks(), 2048);
    set_len(3 << 20);
    eventually("the host knows", || host.blocks() == 6144);
    target.wait_for_log("the device has another size");
    assert_eq!(target.namespaces()[0].blocks, 6144);
    host.goes_on();
    let seen = host.leave();
    assert_eq!(seen.errors, []);
    assert!(
        seen.events.iter().any(|event| matches!(event, Event::Resized(geometry) if geometry.blocks == 6144))
    );
}
