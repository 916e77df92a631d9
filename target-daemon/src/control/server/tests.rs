use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;

use super::*;
use crate::control::client::{Client, ClientError};

/// Answers drain requests, and says what else was asked.
fn answer() -> Answer {
    Arc::new(|request| match request {
        Request::Drain {} => Reply::Draining {},
        other => Reply::error(format!("{other:?}")),
    })
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run").join("control");
    (folder, path)
}

fn send(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(bytes).unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    line
}

#[test]
fn it_answers_its_owner_only() {
    let (_folder, path) = folder();
    let _server = Server::start(&path, answer()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    let mut client = Client::connect(&path).unwrap();
    assert_eq!(client.ask(&Request::Drain {}).unwrap(), Reply::Draining {});
    assert_eq!(client.ask(&Request::Status {}).unwrap(), Reply::error("Status"), "one after the other");
    let (stream, _peer) = UnixStream::pair().unwrap();
    assert_eq!(check_peer(&stream, geteuid()), Ok(()));
    let [owner, other] = [Uid::from_raw(1000), Uid::from_raw(1001)];
    assert_eq!([may_ask(owner, owner), may_ask(Uid::ROOT, owner)], [Ok(()), Ok(())]);
    assert_eq!(may_ask(other, owner).unwrap_err(), "user 1001 may not ask this target");
    assert!(may_ask(other, Uid::ROOT).is_err());
}

#[test]
fn bytes_are_answered_with_literal_bytes() {
    let (_folder, path) = folder();
    let _server = Server::start(&path, answer()).unwrap();
    assert_eq!(
        send(&path, b"{\"version\":1,\"request\":\"drain\"}\n"),
        "{\"version\":1,\"reply\":\"draining\"}\n"
    );
    assert!(
        send(&path, b"\n").starts_with("{\"version\":1,\"reply\":\"error\",\"message\":\"a line that is")
    );
    assert!(send(&path, b"\xff\xfe\0\n").contains("no JSON object"));
    // In pieces, and two at once.
    let mut stream = UnixStream::connect(&path).unwrap();
    for piece in ["{\"version\":1,\"requ", "est\":\"drain\"}\n{\"version\":2}", "\n"] {
        stream.write_all(piece.as_bytes()).unwrap();
    }
    let mut lines = BufReader::new(stream).lines();
    assert!(lines.next().unwrap().unwrap().contains("draining"));
    assert!(lines.next().unwrap().unwrap().contains("version 2: version 1 is spoken here"));
}

#[test]
fn a_line_without_end_is_cut_off() {
    let (_folder, path) = folder();
    let _server = Server::start(&path, answer()).unwrap();
    let said = send(&path, &vec![b' '; REQUEST_BYTES_MAX]);
    assert!(said.contains("a request of more than 65536 bytes"), "{said}");
    assert!(send(&path, b"{\"version\":1,\"request\":\"drain\"}\n").contains("draining"), "others go on");
}

#[test]
fn clients_are_bounded() {
    let (_folder, path) = folder();
    let _server = Server::start(&path, answer()).unwrap();
    let mut clients: Vec<Client> = (0..CLIENTS_MAX).map(|_| Client::connect(&path).unwrap()).collect();
    for client in &mut clients {
        assert_eq!(client.ask(&Request::Drain {}).unwrap(), Reply::Draining {});
    }
    let mut refused = Client::connect(&path).unwrap();
    assert_eq!(refused.ask(&Request::Drain {}).unwrap(), Reply::error("too many clients"));
    drop(clients);
    let is_answered =
        || matches!(Client::connect(&path).unwrap().ask(&Request::Drain {}), Ok(Reply::Draining {}));
    assert!((0..100).any(|_| is_answered() || {
        thread::park_timeout(Duration::from_millis(10));
        false
    }));
}

#[test]
fn a_socket_that_was_left_is_replaced_and_a_live_one_is_not() {
    let (_folder, path) = folder();
    let live = Server::start(&path, answer()).unwrap();
    let second = Server::start(&path, answer()).unwrap_err();
    assert!(second.to_string().ends_with("another target listens there"), "{second}");
    drop(live);
    assert!(!path.exists());
    drop(UnixListener::bind(&path).unwrap());
    assert!(matches!(Client::connect(&path), Err(ClientError::Connect { .. })), "nobody is there");
    let _server = Server::start(&path, answer()).unwrap();
    assert!(Client::connect(&path).is_ok());
}

#[test]
fn what_is_no_socket_is_not_removed() {
    let (folder, _) = folder();
    let path = folder.path().join("file");
    fs::write(&path, "precious").unwrap();
    let error = Server::start(&path, answer()).unwrap_err();
    assert!(error.to_string().ends_with("there is something that is no socket"));
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}
