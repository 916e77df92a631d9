//! Two kernels talk RDMA to each other, and nothing of ours takes part: the wire between two guests carries it, and what
//! judges captures takes kernel rxe's packets for good and damaged ones for bad. The captures are also what the
//! decoders of `crates/rdma` are tested with.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{ALL_ONLY, Scenario};
use crate::capture;
use crate::error::{Context, Result, ensure};
use crate::guest::{LEFT, Lab, Pair};

pub const SCENARIO: Scenario = Scenario {
    name: "rdma-kernels",
    set: ALL_ONLY,
    about: "two kernels' soft RoCE on the wire: rping, perftest, a refusal, small packets, loss; captures are judged",
    story,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Round trips of rping, and their bytes.
const PINGS: usize = 2;
const BYTES: usize = 100;

/// Messages of perftest, the fewest that it takes.
const MESSAGES: usize = 5;

/// An Ethernet MTU for which RoCE's is 256, its smallest, so that captures of long messages are small.
const SMALL_MTU: u32 = 400;

/// What gets lost of the packets to each guest.
const LOSS_PERCENT: u32 = 10;

/// Round trips under loss, and their bytes: of more than 100 packets of WRITEs that are not a message's last one, at least
/// one is lost, and answered by a NAK.
const LOSSY_PINGS: usize = 4;
const LOSSY_BYTES: usize = 8000;

fn story(lab: &Lab) -> Result<()> {
    let mut pair = Pair::boot(lab)?;
    pair.left.run("rxe eth0")?;
    pair.right.run("rxe eth0")?;

    for (name, address) in [("rping-ipv4", LEFT.ipv4), ("rping-ipv6", LEFT.ipv6)] {
        let file = pair.captured(name, |pair| rping(pair, address))?;
        capture::judge(&lab.image, &file)?.at_least(&[
            ("REQ", 1),
            ("REP", 1),
            ("RTU", 1),
            ("SEND", 4 * PINGS),
            ("READ", PINGS),
            ("RESPONSE", PINGS),
            ("WRITE", PINGS),
            ("ACK", 5 * PINGS),
            ("DREQ", 1),
            ("DREP", 1),
        ])?;
        is_refused_when_damaged(lab, &file)?;
    }
    for (name, address) in [("refused-ipv4", LEFT.ipv4), ("refused-ipv6", LEFT.ipv6)] {
        let file = pair.captured(name, |pair| refused(pair, address))?;
        capture::judge(&lab.image, &file)?.at_least(&[("REQ", 1), ("REJ", 1)])?;
    }
    small_packets(lab, &mut pair)?;
    loss(lab, &mut pair)
}

/// Messages of three packets each: first, middle, last, with padding.
fn small_packets(lab: &Lab, pair: &mut Pair) -> Result<()> {
    for side in [&mut pair.left, &mut pair.right] {
        side.run(&format!("ip link set eth0 mtu {SMALL_MTU}"))?;
    }
    for (program, kind) in [("send", "SEND"), ("write", "WRITE"), ("read", "RESPONSE")] {
        let file = pair.captured(&format!("{program}-mtu256"), |pair| perftest(pair, program, 515))?;
        capture::judge(&lab.image, &file)?.at_least(&[(kind, 3 * MESSAGES)])?;
    }
    Ok(())
}

/// Both directions lose packets; all data comes back, after NAKs and timeouts. rping says its goodbye once: where that is
/// lost, its server waits for ever, and so nobody waits for it.
fn loss(lab: &Lab, pair: &mut Pair) -> Result<()> {
    for side in [&mut pair.left, &mut pair.right] {
        side.run(&format!("lose {LOSS_PERCENT}"))?;
    }
    let file = pair.captured("loss-mtu256", |pair| {
        let server = pair.left.start(&format!("rping -s -a {} -S {LOSSY_BYTES}", LEFT.ipv4))?;
        pair.left.run("listening 7174")?;
        pair.right.run(&format!("rping_to {} {LOSSY_PINGS} {LOSSY_BYTES}", LEFT.ipv4))?;
        pair.left.run("killall -q rping || true")?;
        pair.left.wait(server, PATIENCE).map(drop)
    })?;
    let packets = LOSSY_PINGS * LOSSY_BYTES / 256;
    capture::judge(&lab.image, &file)?.at_least(&[("WRITE", packets), ("RESPONSE", packets), ("NAK", 1)])
}

/// The right guest pings the left one.
fn rping(pair: &mut Pair, address: &str) -> Result<()> {
    let server = pair.left.start(&format!("rping -s -a {address} -S {BYTES} -v"))?;
    pair.left.run("listening 7174")?;
    pair.right.run(&format!("rping_to {address} {PINGS} {BYTES}"))?;
    let outcome = pair.left.wait(server, PATIENCE)?;
    outcome.says(&["rdma-ping-0", "rdma-ping-1"])
}

fn refused(pair: &mut Pair, address: &str) -> Result<()> {
    pair.right
        .run_failing(&format!("rping -c -a {address} -p 9 -C 1"))?
        .says(&["RDMA_CM_EVENT_REJECTED, error 8"])
}

/// A program of perftest from the right guest to the left one, over queue pairs that it connects by TCP. By the connection
/// manager it connects twice, and its client does not wait until its server listens again.
fn perftest(pair: &mut Pair, program: &str, bytes: usize) -> Result<()> {
    let command = format!("ib_{program}_bw -d rxe0 -s {bytes} -n {MESSAGES}");
    let server = pair.left.start(&command)?;
    pair.left.run("listening 18515")?;
    pair.right.run(&format!("{command} {}", LEFT.ipv4))?;
    let outcome = pair.left.wait(server, PATIENCE)?;
    ensure(outcome.status == 0, || outcome.unexpected("it must succeed").to_string())
}

/// The judge would prove little if nothing could fail it.
fn is_refused_when_damaged(lab: &Lab, file: &Path) -> Result<()> {
    let damaged = capture::damaged(file)?;
    let verdict = capture::judge(&lab.image, &damaged);
    ensure(verdict.is_err_and(|error| error.to_string().contains("ICRC")), || {
        "a damaged packet is taken for good".to_owned()
    })?;
    fs::remove_file(&damaged).about("remove", &damaged)
}
