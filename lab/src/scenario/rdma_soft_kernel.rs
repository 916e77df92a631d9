//! Our RoCEv2 in one guest and the kernel's in the other, over IPv4 and IPv6: each is the one that connects and the one
//! that is connected to, every byte of rping's pings is compared, connections are refused and ended by either side, the
//! wire loses packets, and a peer falls silent in the middle. What was on the wire is judged by others.

use std::time::Duration;

use serde_json::json;

use super::{SMOKE, Scenario};
use crate::capture;
use crate::error::{Result, ensure};
use crate::guest::{Guest, LEFT, Lab, Outcome, Pair, RIGHT, Task};

pub const SCENARIO: Scenario = Scenario {
    name: "rdma-soft-kernel",
    set: SMOKE,
    about: "our RoCEv2 and the kernel's, both ways: pings with data, refusals, 1 % loss, silence; captures are judged",
    story,
};

/// Pings of a connection on a good wire.
const PINGS: usize = 5;

/// Three packets each way: a first one, a middle one, and a last one that needs padding.
const BYTES: usize = 9999;

/// Pings while packets get lost, and their bytes: about 1500 packets.
const LOSSY_PINGS: usize = 40;
const LOSSY_BYTES: usize = 60_001;

/// What gets lost of the packets to each guest.
const LOSS_PERCENT: u32 = 1;

/// A lost packet costs up to half a second each time.
const PATIENCE: Duration = Duration::from_secs(120);

fn story(lab: &Lab) -> Result<()> {
    let mut pair = Pair::boot(lab)?;
    pair.right.run("rxe eth0")?;
    let modules = pair.left.run("cat /proc/modules")?;
    ensure(!modules.contains("rdma"), || format!("the kernel's RDMA is in our guest:\n{modules}"))?;

    for (name, ours, kernels) in [("ipv4", LEFT.ipv4, RIGHT.ipv4), ("ipv6", LEFT.ipv6, RIGHT.ipv6)] {
        let file =
            pair.captured(&format!("to-kernel-{name}"), |pair| to_kernel(pair, kernels, PINGS, BYTES))?;
        capture::judge(&lab.image, &file)?.at_least(&whole_story(PINGS, 3))?;
        let file =
            pair.captured(&format!("from-kernel-{name}"), |pair| from_kernel(pair, ours, PINGS, BYTES))?;
        capture::judge(&lab.image, &file)?.at_least(&whole_story(PINGS, 3))?;
        let file = pair.captured(&format!("refused-{name}"), |pair| refused(pair, ours, kernels))?;
        capture::judge(&lab.image, &file)?.at_least(&[("REQ", 2), ("REJ", 2)])?;
        let file = pair.captured(&format!("busy-{name}"), |pair| busy(pair, ours))?;
        capture::judge(&lab.image, &file)?.at_least(&[("REQ", 2), ("REJ", 1), ("DREQ", 1), ("DREP", 1)])?;
    }
    loss(lab, &mut pair)?;
    silence(&mut pair)
}

/// What a connection with pings of so many packets each way has on the wire.
fn whole_story(pings: usize, packets: usize) -> [(&'static str, usize); 10] {
    [
        ("REQ", 1),
        ("REP", 1),
        ("RTU", 1),
        ("SEND", 4 * pings),
        ("READ", pings),
        ("RESPONSE", packets * pings),
        ("WRITE", packets * pings),
        ("ACK", pings),
        ("DREQ", 1),
        ("DREP", 1),
    ]
}

/// We connect, and the kernel's rping serves.
fn to_kernel(pair: &mut Pair, address: &str, count: usize, bytes: usize) -> Result<()> {
    let server = pair.right.start(&format!("rping -s -a {address} -S {bytes} -v | cut -c 1-80"))?;
    pair.right.run("listening 7174")?;
    let ping = pair.left.start(&format!("remora rdma ping {address} --count {count} --size {bytes}"))?;
    came_back(&mut pair.left, ping, count)?;
    let served = pair.right.wait(server, PATIENCE)?;
    served.says(&["rdma-ping-0", &format!("rdma-ping-{}", count - 1), "server DISCONNECT EVENT"])
}

/// The kernel's rping connects, and we serve.
fn from_kernel(pair: &mut Pair, address: &str, count: usize, bytes: usize) -> Result<()> {
    let server = pair.left.start(&format!("remora rdma ping --listen {address} --count {count}"))?;
    pair.left.await_output(&server, "listening")?;
    let ping = pair.right.start(&format!("rping_to {address} {count} {bytes}"))?;
    succeeded(&mut pair.right, ping)?;
    succeeded(&mut pair.left, server)?.says(&[&format!("{count} pings")])
}

/// Nobody listens where either connects.
fn refused(pair: &mut Pair, ours: &str, kernels: &str) -> Result<()> {
    let nowhere = if kernels.contains(':') { format!("[{kernels}]:9") } else { format!("{kernels}:9") };
    pair.left.run_failing(&format!("remora rdma ping {nowhere} --count 1"))?.says(&["refused"])?;
    let server = pair.left.start(&format!("remora rdma ping --listen {ours}"))?;
    pair.left.await_output(&server, "listening")?;
    let nobody = pair.right.run_failing(&format!("rping -c -a {ours} -p 9 -C 1"))?;
    nobody.says(&["RDMA_CM_EVENT_REJECTED, error 8"])?;
    interrupted(pair, server).map(drop)
}

/// We serve one at a time, reject another meanwhile, and end the connection when we are told to end.
fn busy(pair: &mut Pair, ours: &str) -> Result<()> {
    let server = pair.left.start(&format!("remora rdma ping --listen {ours}"))?;
    pair.left.await_output(&server, "listening")?;
    let first = pair.right.start(&format!("rping -c -a {ours}"))?;
    pair.right.run("connected 7174")?;
    pair.right
        .run_failing(&format!("rping -c -a {ours} -C 1"))?
        .says(&["RDMA_CM_EVENT_REJECTED, error 28"])?;
    interrupted(pair, server)?;
    pair.right.wait(first, PATIENCE)?.says(&["client DISCONNECT EVENT"])
}

/// Our server is told to end, and ends well.
fn interrupted(pair: &mut Pair, server: Task) -> Result<Outcome> {
    pair.left.run("kill -INT $(pidof remora)")?;
    succeeded(&mut pair.left, server)
}

/// The wire loses packets both ways; all data comes back right. Either side's word of its end may get lost as well, and
/// rping says it once: so nobody waits for the end.
fn loss(lab: &Lab, pair: &mut Pair) -> Result<()> {
    for side in [&mut pair.left, &mut pair.right] {
        side.run(&format!("lose {LOSS_PERCENT}"))?;
    }
    let packets = LOSSY_BYTES.div_ceil(4096);
    let minima = whole_story(LOSSY_PINGS, packets);
    let file = pair.captured("to-kernel-loss", |pair| {
        let server = pair.right.start(&format!("rping -s -a {} -S {LOSSY_BYTES}", RIGHT.ipv4))?;
        pair.right.run("listening 7174")?;
        let options = format!("--count {LOSSY_PINGS} --size {LOSSY_BYTES}");
        let ping = pair.left.start(&format!("remora rdma ping {} {options}", RIGHT.ipv4))?;
        came_back(&mut pair.left, ping, LOSSY_PINGS)?;
        pair.right.run("killall -q rping || true")?;
        pair.right.wait(server, PATIENCE).map(drop)
    })?;
    capture::judge(&lab.image, &file)?.at_least(&minima[..8])?;
    let file = pair.captured("from-kernel-loss", |pair| {
        let server = pair.left.start(&format!("remora rdma ping --listen {}", LEFT.ipv4))?;
        pair.left.await_output(&server, "listening")?;
        let ping = pair.right.start(&format!("rping_to {} {LOSSY_PINGS} {LOSSY_BYTES}", LEFT.ipv4))?;
        succeeded(&mut pair.right, ping)?;
        interrupted(pair, server)?.says(&[&format!("{LOSSY_PINGS} pings")])
    })?;
    capture::judge(&lab.image, &file)?.at_least(&minima[..8])?;
    for side in [&mut pair.left, &mut pair.right] {
        let lost: usize = side.run("lost")?.trim().parse().unwrap_or_default();
        ensure(lost > 0, || "nothing was lost".to_owned())?;
        side.run("lose 0")?;
    }
    Ok(())
}

/// The kernel's guest stands still in the middle of it. We give up, and say why.
fn silence(pair: &mut Pair) -> Result<()> {
    let server = pair.right.start(&format!("rping -s -a {} -v", RIGHT.ipv4))?;
    pair.right.run("listening 7174")?;
    let ping = pair.left.start(&format!("remora rdma ping {} --count 1000000", RIGHT.ipv4))?;
    pair.right.run("connected 7174")?;
    pair.right.qmp().run("stop", &json!({}))?;
    let pinged = pair.left.wait(ping, PATIENCE)?;
    pair.right.qmp().run("cont", &json!({}))?;
    ensure(pinged.status == 1, || pinged.unexpected("1 is to be told of a failure").to_string())?;
    pinged.says(&["answer"])?;
    pair.right.wait(server, PATIENCE).map(drop)
}

/// All of our pings came back with the bytes that we sent.
fn came_back(guest: &mut Guest, ping: Task, count: usize) -> Result<()> {
    succeeded(guest, ping)?.says(&[&format!("{count} pings"), "0 wrong"])
}

fn succeeded(guest: &mut Guest, task: Task) -> Result<Outcome> {
    let outcome = guest.wait(task, PATIENCE)?;
    if outcome.status == 0 { Ok(outcome) } else { Err(outcome.unexpected("it must succeed")) }
}
