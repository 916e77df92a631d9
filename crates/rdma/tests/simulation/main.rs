//! Whole soft endpoints on a simulated network, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation, reason = "tests")]

mod ending;
mod hostile;
mod link;
mod node;
mod peer;
mod scenario;
mod stories;
mod suite;
mod way;

use std::sync::Mutex;

use sim::Coverage;

/// Seeds of an ordinary test run. Many: `REMORA_SEEDS=10000 cargo test --release -p rdma --test simulation seeds`.
const SEEDS: u64 = 400;

const QUEUE_PAIR_STATES: [&str; 4] = ["Init", "ReadyToReceive", "ReadyToSend", "Error"];
const QUEUE_PAIR_EVENTS: [&str; 16] = [
    "connect",
    "establish",
    "post receive",
    "post send work",
    "SEND",
    "SEND with invalidate",
    "WRITE",
    "READ request",
    "READ response",
    "ACK",
    "RNR NAK",
    "NAK: sequence",
    "NAK: refused",
    "timeout",
    "fail",
    "destroy",
];

const CONNECTION_STATES: [&str; 6] =
    ["none", "RequestSent", "ReplySent", "Established", "DisconnectSent", "TimeWait"];
const CONNECTION_EVENTS: [&str; 9] =
    ["REQ", "MRA", "REJ", "REP", "RTU", "DREQ", "DREP", "timeout", "disconnect"];

/// Whatever the network does, every byte arrives once and in order or the queue pair fails as the standard says; when the
/// network has healed everything ends and new connections are made; and every event has met every state.
#[test]
fn seeds() {
    let seen = Mutex::new((0, 0, Coverage::default()));
    let run = |seed| (scenario::run(seed), rdma::soft::coverage::take());
    let count = sim::run_seeds(SEEDS, run, |((lived, ended), cells)| {
        let mut seen = seen.lock().unwrap();
        seen.0 += lived;
        seen.1 += ended;
        cells.into_iter().for_each(|((state, event), times)| seen.2.add(state, event, times));
    });
    let (lived, ended, coverage) = seen.into_inner().unwrap();
    println!("{lived} connections lived, {ended} ended");
    println!("{}", coverage.table(&QUEUE_PAIR_STATES, &QUEUE_PAIR_EVENTS));
    println!("{}", coverage.table(&CONNECTION_STATES, &CONNECTION_EVENTS));
    if count < SEEDS {
        return;
    }
    let rare = if count < MANY_SEEDS { &RARE[..] } else { &[] };
    let excused = [&NEVER[..], rare].concat();
    let missing = coverage.missing(&QUEUE_PAIR_STATES, &QUEUE_PAIR_EVENTS, &excused);
    assert!(missing.is_empty(), "queue pairs have not seen {missing:?}");
    let missing = coverage.missing(&CONNECTION_STATES, &CONNECTION_EVENTS, &excused);
    assert!(missing.is_empty(), "connections have not seen {missing:?}");
}

/// Cells that are not hit where both sides keep the rules. The units' own tests hit them: `rc/tests/states.rs`, `cm/tests`.
const NEVER: [(&str, &str); 43] = [
    // Nobody sends before he knows the other's queue pair, and nobody answers what was not sent.
    ("Init", "SEND"),
    ("Init", "SEND with invalidate"),
    ("Init", "WRITE"),
    ("Init", "READ request"),
    ("Init", "READ response"),
    ("Init", "ACK"),
    ("Init", "RNR NAK"),
    ("Init", "NAK: sequence"),
    ("Init", "NAK: refused"),
    ("ReadyToReceive", "READ response"),
    ("ReadyToReceive", "ACK"),
    ("ReadyToReceive", "RNR NAK"),
    ("ReadyToReceive", "NAK: sequence"),
    ("ReadyToReceive", "NAK: refused"),
    // No timer runs where nothing was sent, and none after the end.
    ("Init", "timeout"),
    ("ReadyToReceive", "timeout"),
    ("Error", "timeout"),
    // The endpoint tells a queue pair once how far its connection is.
    ("Init", "establish"),
    ("ReadyToSend", "establish"),
    ("Error", "establish"),
    ("ReadyToReceive", "connect"),
    ("ReadyToSend", "connect"),
    ("Error", "connect"),
    // A request comes before there is a connection.
    ("RequestSent", "REQ"),
    ("ReplySent", "REQ"),
    ("Established", "REQ"),
    ("DisconnectSent", "REQ"),
    ("TimeWait", "REQ"),
    // Whoever has sent a request gets a reply, and whoever replied gets none.
    ("ReplySent", "REP"),
    ("RequestSent", "RTU"),
    ("RequestSent", "DREQ"),
    ("RequestSent", "DREP"),
    ("ReplySent", "DREP"),
    ("Established", "DREP"),
    // Only a request is answered with a plea for patience, and a late one finds the reply there.
    ("none", "MRA"),
    ("ReplySent", "MRA"),
    ("Established", "MRA"),
    ("DisconnectSent", "MRA"),
    ("TimeWait", "MRA"),
    // No connection, no timer and no call; and an established one waits for nothing.
    ("none", "timeout"),
    ("none", "disconnect"),
    ("Established", "timeout"),
    ("none", "REP"),
];

/// Cells that take many seeds.
const RARE: [(&str, &str); 8] = [
    ("ReplySent", "REJ"),
    ("ReplySent", "DREQ"),
    ("DisconnectSent", "REJ"),
    ("DisconnectSent", "REP"),
    ("DisconnectSent", "RTU"),
    ("Error", "RNR NAK"),
    ("Error", "NAK: refused"),
    ("Error", "post receive"),
];

/// So many seeds that rare cells are hit.
const MANY_SEEDS: u64 = 3000;
