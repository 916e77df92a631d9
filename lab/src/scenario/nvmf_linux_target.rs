//! Our NVMe/RDMA host, in userspace and without an RDMA device, on Linux's target: what the target says of itself, verified
//! workloads, a namespace that grows and one that goes, the target taken down and brought up under load, hosts that come and go.

use std::time::Duration;

use super::linux_host::{is_content, succeeded};
use super::{ALL_ONLY, Scenario};
use crate::capture;
use crate::error::{Result, ensure};
use crate::guest::{Guest, Lab, Outcome, Pair, RIGHT, Task};

pub const SCENARIO: Scenario = Scenario {
    name: "nvmf-linux-target",
    set: ALL_ONLY,
    about: "our NVMe/RDMA host in userspace on Linux's target: verified I/O, namespaces change, the target goes and comes",
    story,
};

const NQN: &str = "nqn.2024-01.lab:nvmet";

/// For workloads on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// MiB of namespace 1, a disk in memory, and of namespace 2, a file, at first.
const DISK_MIB: u32 = 64;
const FILE_MIB: u32 = 16;

/// Block sizes of workloads, the bytes of each, and its jobs: from a logical block to more than a command may have.
const WORKLOADS: [(&str, &str, u32); 5] =
    [("512", "512k", 1), ("4k", "4m", 4), ("16k", "4m", 1), ("128k", "16m", 1), ("4m", "32m", 1)];

/// Connects and disconnects.
const CONNECTS: u32 = 100;

/// What a short workload with its flushes and discards has on the wire at least; of messages that fit a packet.
const EACH_KIND: [(&str, usize); 20] = [
    ("REQ", 2),
    ("REP", 2),
    ("RTU", 2),
    ("NVMeOF Connect", 2),
    ("NVMeOF CQE for Connect", 2),
    ("NVMeOF Property Get Controller Capabilities", 1),
    ("NVMeOF Property Set Controller Configuration", 1),
    ("NVMeOF Property Get Controller Status", 1),
    ("NVMe Identify Controller", 1),
    ("NVMeOF Data for Identify Controller", 1),
    ("NVMe Identify Namespace", 1),
    ("NVMe Set Features", 1),
    ("NVMe Write", 8),
    ("NVMeOF Data Request for Write", 1),
    ("NVMeOF Data for Write", 1),
    ("NVMe CQE for Write", 8),
    ("NVMe Read", 8),
    ("NVMeOF Data for Read", 8),
    ("NVMe CQE for Read", 8),
    ("NVMe Flush", 1),
];

fn story(lab: &Lab) -> Result<()> {
    let mut pair = Pair::boot(lab)?;
    pair.right.run(&format!(
        "nvmet_up
        memory_disk nullb0 {DISK_MIB}; nvmet_namespace {NQN} 1 /dev/nullb0
        truncate -s {FILE_MIB}M /tmp/file; nvmet_namespace {NQN} 2 /tmp/file
        nvmet_listens {} {NQN}",
        RIGHT.ipv4
    ))?;

    says_what_it_is(&mut pair.left)?;
    let file = pair.captured("each-kind", |pair| a_little_of_each(&mut pair.left))?;
    let tally = capture::judge(&lab.image, &file)?;
    tally.at_least(&EACH_KIND)?;
    tally.refused_only(&[])?;

    for (block, bytes, jobs) in WORKLOADS {
        let options =
            format!("--rw randrw --bs {block} --size {bytes} --numjobs {jobs} --iodepth 8 --fsync 16");
        verified(&mut pair.left, 1, &options)?;
    }
    goes_and_comes(&mut pair)?;
    namespace_grows(&mut pair)?;
    namespace_goes(&mut pair)?;
    hosts_come_and_go(&mut pair)?;
    is_content(&mut pair.right, "")
}

fn uri(nsid: u32) -> String {
    format!("'rdma://{}/{NQN}?ns={nsid}&queues=4'", RIGHT.ipv4)
}

/// Discovery, and what nvme-cli asks in our words.
fn says_what_it_is(guest: &mut Guest) -> Result<()> {
    let discovered = guest.run(&format!("remora discover {}", RIGHT.ipv4))?;
    for words in [NQN, RIGHT.ipv4, "4420", "nvme subsystem"] {
        ensure(discovered.contains(words), || format!("no \"{words}\" in {discovered}"))?;
    }
    let controller = guest.run(&format!("remora id-ctrl {}", uri(1)))?;
    for words in [NQN, "Linux"] {
        ensure(controller.contains(words), || format!("no \"{words}\" in {controller}"))?;
    }
    let namespace = guest.run(&format!("remora id-ns {}", uri(1)))?;
    let blocks = format!("nsze    : {:#x}", u64::from(DISK_MIB) << 11);
    ensure(namespace.contains(&blocks), || format!("no \"{blocks}\" in {namespace}"))
}

fn a_little_of_each(guest: &mut Guest) -> Result<()> {
    verified(guest, 1, "--rw randrw --bs 2k --size 64k --iodepth 4 --fsync 4")?;
    verified(guest, 1, "--rw randrw --bs 64k --size 512k --iodepth 4")?;
    guest.run(&format!("remora bench {} --rw trim --bs 64k --size 512k", uri(1))).map(drop)
}

/// A workload whose blocks are all judged right.
fn verified(guest: &mut Guest, nsid: u32, options: &str) -> Result<()> {
    let run = guest.start(&format!("remora bench {} --verify crc32c {options}", uri(nsid)))?;
    let outcome = guest.wait(run, PATIENCE)?;
    ensure(outcome.status == 0, || outcome.unexpected("it must succeed").to_string())?;
    outcome.says(&["judged, 0 wrong"])
}

/// A workload that goes on for a while, under way.
fn running(pair: &mut Pair, nsid: u32, options: &str) -> Result<Task> {
    let load = "--rw randrw --bs 4k --iodepth 8 --size 4m --verify crc32c";
    let run = pair.left.start(&format!("remora bench {} {load} {options}", uri(nsid)))?;
    pair.left.run("while ! pidof remora; do usleep 100000; done; sleep 2")?;
    Ok(run)
}

/// The target goes and comes again under load, which is held meanwhile, and then goes on.
fn goes_and_comes(pair: &mut Pair) -> Result<()> {
    let run = running(pair, 1, "--runtime 12")?;
    pair.right.run("written /dev/nullb0 1")?;
    pair.right.run(&format!("nvmet_leaves {NQN}; sleep 3; nvmet_listens {} {NQN}", RIGHT.ipv4))?;
    let outcome = succeeded(&mut pair.left, run)?;
    outcome.says(&["the device began anew", "judged, 0 wrong"])
}

/// The host learns of a larger namespace while it uses it.
fn namespace_grows(pair: &mut Pair) -> Result<()> {
    let run = running(pair, 2, "--runtime 8")?;
    let attribute = format!("/sys/kernel/config/nvmet/subsystems/{NQN}/namespaces/2/revalidate_size");
    pair.right.run(&format!("truncate -s {}M /tmp/file; echo 1 >{attribute}", 2 * FILE_MIB))?;
    let outcome = succeeded(&mut pair.left, run)?;
    outcome.says(&[&format!("the device has {} blocks now", block_count(2 * FILE_MIB)), "judged, 0 wrong"])
}

/// nvmet gives files blocks of 4096 bytes.
const fn block_count(mib: u32) -> u32 {
    mib << 8
}

/// The host learns that its namespace is gone, and says so.
fn namespace_goes(pair: &mut Pair) -> Result<()> {
    let run = running(pair, 2, "--runtime 60 --continue-on-error io")?;
    pair.right.run(&format!("echo 0 >/sys/kernel/config/nvmet/subsystems/{NQN}/namespaces/2/enable"))?;
    let outcome: Outcome = pair.left.wait(run, PATIENCE)?;
    ensure(outcome.status == 1, || {
        outcome.unexpected("1 is to be told of a device that is gone").to_string()
    })?;
    outcome.says(&["the device is gone"])
}

/// Nothing is left of them on the target.
fn hosts_come_and_go(pair: &mut Pair) -> Result<()> {
    let turn = format!("remora id-ctrl {} >/dev/null", uri(1));
    let turns = format!("turn=0; while [ $turn -lt {CONNECTS} ]; do {turn}; turn=$((turn + 1)); done");
    pair.left.run_within(&turns, PATIENCE)?;
    let left = pair.right.run("rdma resource show qp | grep -c nvmet || true")?;
    ensure(left.trim() == "0", || format!("{left} queue pairs are left"))
}
