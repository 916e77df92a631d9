//! `remora attach`, `attachments` and `detach` as people run them: real processes, nobody else's programs.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod attached;

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};

use attached::{Place, text};
use nix::sys::signal::Signal;
use serde_json::Value;

fn attachments(place: &Place) -> Vec<Value> {
    let output = place.remora(&["attachments", "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A client that has begun with the default export.
fn client(socket: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.write_all(b"\0\0\0\x03IHAVEOPT\0\0\0\x01\0\0\0\0").unwrap();
    stream.read_exact(&mut [0; 28]).unwrap();
    stream
}

fn error_of(stream: &mut UnixStream, kind: u8, data: &[u8]) -> u32 {
    let length = u32::try_from(data.len()).unwrap();
    let head = [b"\x25\x60\x95\x13\0\0\0", &[kind][..], &[0; 16], &length.to_be_bytes(), data].concat();
    stream.write_all(&head).unwrap();
    let mut reply = [0; 16];
    stream.read_exact(&mut reply).unwrap();
    u32::from_be_bytes(reply[4..8].try_into().unwrap())
}

#[test]
fn attachments_are_listed_and_ended() {
    let place = Place::new();
    let mut one = place.attach("mem:1MiB", "one", &[]);
    let two = place.attach("null:1GiB", "two", &["--read-only", "--name", "other"]);
    let pid = one.child.id();
    assert_eq!(one.ready, format!("remora attach: ready, pid {pid}, name one, {}\n", one.uri()));
    assert_eq!(fs::metadata(&one.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let mut client = client(&one.socket);
    assert_eq!(error_of(&mut client, 1, &[7; 512]), 0);

    let listed = attachments(&place);
    let names: Vec<_> = listed.iter().map(|attachment| attachment["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["one", "other"]);
    assert_eq!((&listed[0]["pid"], &listed[0]["device"]), (&Value::from(pid), &Value::from("mem:1MiB")));
    assert_eq!((&listed[0]["bytes"], &listed[1]["read_only"]), (&Value::from(1 << 20), &Value::from(true)));
    let counters = &listed[0]["counters"];
    assert_eq!((&counters["clients"], &counters["written_bytes"]), (&Value::from(1), &Value::from(512)));
    let table = text(&place.remora(&["attachments"]).stdout);
    assert!(table.starts_with("NAME ") && table.contains("null:1GiB (read-only)"), "{table}");

    drop(client);
    let output = place.remora(&["detach", "one"]);
    assert!(output.status.success(), "{output:?}");
    assert!(one.child.wait().unwrap().success() && !fs::exists(&one.socket).unwrap());
    assert_eq!(attachments(&place).len(), 1);
    assert_eq!(two.stop(), (std::process::ExitStatus::default(), String::new()));
    assert_eq!(attachments(&place), [Value::Null; 0]);
}

#[test]
fn a_name_is_taken_once_and_a_dead_one_not_at_all() {
    let place = Place::new();
    let first = place.attach("mem:1MiB", "a", &["--name", "disk"]);
    let second = place.remora(&[
        "attach",
        "mem:1MiB",
        "--nbd",
        &format!("unix:{}", place.text("b")),
        "--name",
        "disk",
    ]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("there is an attachment `disk`"), "{second:?}");
    first.kill();
    let detached = place.remora(&["detach", "disk"]);
    assert_eq!(detached.status.code(), Some(1));
    assert!(text(&detached.stderr).contains("there is no attachment `disk`"), "{detached:?}");
    // The socket that the killed one left is in the way of nobody.
    let again = place.attach("mem:1MiB", "a", &["--name", "disk"]);
    assert_eq!(attachments(&place).len(), 1);
    assert!(again.stop().0.success());
}

#[test]
fn a_client_is_told_that_it_ends() {
    let place = Place::new();
    let attached = place.attach("soft-nvme:?size=16MiB", "a", &[]);
    let mut client = client(&attached.socket);
    assert_eq!(error_of(&mut client, 1, &[7; 4096]), 0);
    attached.signal(Signal::SIGINT);
    while fs::exists(&attached.socket).unwrap() {
        std::thread::yield_now();
    }
    // Either it is early enough to be told in words, or it finds the connection's end: never an acknowledgement.
    let head = [b"\x25\x60\x95\x13\0\0\0\x03".to_vec(), vec![0; 20]].concat();
    let _ = client.write_all(&head);
    let mut reply = Vec::new();
    let _ = client.read_to_end(&mut reply);
    assert!(reply.is_empty() || reply[4..8] == [0, 0, 0, 108], "{reply:?}");
    drop(client);
    let (status, said) = attached.end();
    assert!(status.success(), "{said}");
}

#[test]
fn wrong_words_are_answered_in_words() {
    let place = Place::new();
    let socket = format!("unix:{}", place.text("s"));
    for (arguments, code, words) in [
        (vec!["attach", "mem:1MiB"], 2, "--nbd"),
        (vec!["attach", "mem:1MiB", "--nbd", "here"], 2, "is no place to listen at"),
        (vec!["attach", "mem:1MiB", "--nbd", &socket, "--name", "a/b"], 2, "is no name"),
        (vec!["attach", "meme:1MiB", "--nbd", &socket], 2, "meme"),
        (vec!["attach", "null:", "--nbd", &socket], 2, "export a part of it"),
        (vec!["attach", "file:/nowhere/at/all", "--nbd", &socket], 1, "not found"),
        (vec!["attach", "mem:1MiB", "--nbd", "unix:/nowhere/s"], 1, "cannot listen at"),
        (vec!["detach", "nobody"], 1, "there is no attachment `nobody`"),
    ] {
        let output = place.remora(&arguments);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

#[test]
fn a_service_manager_is_told() {
    let place = Place::new();
    let manager = UnixDatagram::bind(place.path("notify")).unwrap();
    let mut command = place.command(
        env!("CARGO_BIN_EXE_remora"),
        &["attach", "mem:1MiB", "--nbd", &format!("unix:{}", place.text("s"))],
    );
    let mut child = command.env("NOTIFY_SOCKET", place.path("notify")).spawn().unwrap();
    let hear = || {
        let mut bytes = [0; 512];
        let count = manager.recv(&mut bytes).unwrap();
        text(&bytes[..count])
    };
    assert!(hear().starts_with("READY=1\nSTATUS=mem:1MiB at nbd+unix:///?socket="));
    assert!(place.remora(&["detach", "s"]).status.success());
    assert_eq!(hear(), "STOPPING=1");
    assert!(child.wait().unwrap().success());
}
