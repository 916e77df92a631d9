//! What Linux's NVMe/RDMA host does with a subsystem, whoever exports it.

use std::time::Duration;

use serde_json::Value;

use crate::error::{LabError, Result, ensure};
use crate::guest::{Guest, Outcome, Task};
use crate::machine::Machine;

/// Processors of [`hardware`]. Of those that read, and of those that write, Linux makes no more queues than these; and more
/// processors than the machine has make an emulated guest stumble.
const PROCESSORS: u32 = 2;

/// Queues for I/O.
const IO_QUEUES: u32 = 2 * PROCESSORS;

/// For parts that take minutes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Twice Linux's keep-alive timeout: on a busy machine an emulated host may stand still for longer than its 5 s.
const KEEP_ALIVE_S: u32 = 10;

/// Block sizes of verified I/O, and bytes for each: from a logical block to the most that the host puts into a command.
const BLOCKS: [(&str, &str); 5] = [("512", "256k"), ("4k", "1m"), ("8k", "1m"), ("64k", "4m"), ("1m", "8m")];

/// Lines of the kernel's log that are no complaint after a reset: a queue pair's end flushes what it has to send.
pub const AFTER_A_RESET: &str = "WR flushed";

/// Lines that are none when the target was lost under load.
pub const AFTER_A_LOSS: &str = "WR flushed|keep-alive|keep_alive|timeout|starting error recovery|[Rr]econnect|failed to connect|transport retry";

/// A remote subsystem.
#[derive(Clone, Copy, Debug)]
pub struct Remote {
    /// Its name.
    pub nqn: &'static str,
    /// Where it is.
    pub address: &'static str,
    /// Bytes of its namespace 1, of which more than the first 300 MiB are for file systems.
    pub bytes: u64,
}

/// The host's guest.
pub fn hardware(machine: Machine) -> Machine {
    machine.with_processors(PROCESSORS)
}

impl Remote {
    /// The discovery service names it, and where it is.
    pub fn is_discovered(self, guest: &mut Guest) -> Result<()> {
        let log = guest.run(&format!("nvme discover -t rdma -a {}", self.address))?;
        let entries = log.split("=====Discovery Log Entry").skip(1);
        let of_subsystem: Vec<_> = entries.filter(|entry| line(entry, "subnqn:") == Some(self.nqn)).collect();
        let [entry] = of_subsystem[..] else {
            return Err(LabError::Story(format!("{} entries of {}: {log}", of_subsystem.len(), self.nqn)));
        };
        for (key, value) in [
            ("trtype:", "rdma"),
            ("adrfam:", "ipv4"),
            ("subtype:", "nvme subsystem"),
            ("trsvcid:", "4420"),
            ("traddr:", self.address),
        ] {
            ensure(line(entry, key) == Some(value), || format!("{key} is not {value}: {entry}"))?;
        }
        Ok(())
    }

    /// With four I/O queues, for reads and for writes from each processor; the kernel says that it has them.
    pub fn is_connected(self, guest: &mut Guest) -> Result<()> {
        let Self { nqn, address, .. } = self;
        guest.run(&format!(
            "nvme connect -t rdma -a {address} -n {nqn} -i {PROCESSORS} --nr-write-queues={PROCESSORS} \
             --keep-alive-tmo={KEEP_ALIVE_S} --reconnect-delay=1
             becomes {nqn} live"
        ))?;
        let queues = guest.run(&format!("cat /sys/class/nvme/$(controllers_of {nqn})/queue_count"))?;
        ensure(queues.trim() == (IO_QUEUES + 1).to_string(), || format!("{queues} queues"))?;
        let subsystems = guest.run("nvme list-subsys")?;
        for words in [format!("NQN={nqn}"), format!("rdma traddr={address},trsvcid=4420 live")] {
            ensure(subsystems.contains(&words), || format!("no \"{words}\" in {subsystems}"))?;
        }
        Ok(())
    }

    /// It says of itself, and of its namespace 1, what holds.
    pub fn is_identified(self, guest: &mut Guest) -> Result<()> {
        let Self { nqn, bytes, .. } = self;
        let controller = json(guest, &format!("nvme id-ctrl /dev/$(controllers_of {nqn}) -o json"))?;
        ensure(controller["subnqn"] == nqn && controller["cntrltype"] == 1, || controller.to_string())?;
        let namespace = json(guest, &format!("nvme id-ns $(remote_disk {nqn} 1) -o json"))?;
        let format = namespace["flbas"].as_u64().and_then(|index| usize::try_from(index & 0xf).ok());
        let shift = namespace["lbafs"][format.unwrap_or_default()]["ds"].as_u64().unwrap_or_default();
        let size = namespace["nsze"].as_u64().map(|blocks| blocks << shift);
        ensure(size == Some(bytes), || format!("{size:?} bytes, not {bytes}: {namespace}"))?;
        guest.run(&format!("nvme smart-log /dev/$(controllers_of {nqn})")).map(drop)
    }

    /// One command of each kind, and one transfer of each kind, on the wire for [`EACH_KIND`].
    pub fn does_a_little_of_each(self, guest: &mut Guest) -> Result<()> {
        let said = guest.run(&format!(
            "disk=$(remote_disk {} 1)
            dd if=/dev/urandom of=/tmp/before bs=64k count=2 2>/dev/null
            dd if=/tmp/before of=$disk oflag=direct bs=512 count=8
            dd if=/tmp/before of=$disk oflag=direct bs=64k count=2 conv=fsync
            dd if=$disk iflag=direct of=/tmp/after bs=64k count=2
            cmp /tmp/before /tmp/after && echo the same
            blkdiscard -f -o 0 -l 65536 $disk
            blkdiscard -f -z -o 65536 -l 65536 $disk
            dd if=$disk iflag=direct bs=64k count=1 skip=1 | cmp -n 65536 - /dev/zero && echo zeroes",
            self.nqn
        ))?;
        ensure(said.contains("the same") && said.contains("zeroes"), || said)
    }

    /// Verified I/O of all sizes, from all processors.
    pub fn keeps_its_data(self, guest: &mut Guest, nsid: u32) -> Result<()> {
        for (block, bytes) in BLOCKS {
            let run = format!("verified $(remote_disk {} {nsid}) {block} {bytes}", self.nqn);
            guest.run_within(&run, PATIENCE)?;
        }
        Ok(())
    }

    /// ext4 and xfs are made on it, filled and checked.
    pub fn holds_file_systems(self, guest: &mut Guest) -> Result<()> {
        for kind in ["ext4", "xfs"] {
            guest.run_within(&format!("file_system $(remote_disk {} 1) {kind}", self.nqn), PATIENCE)?;
        }
        Ok(())
    }

    /// `nvme reset` in the middle of verified I/O, which goes on.
    pub fn survives_a_reset(self, guest: &mut Guest, nsid: u32) -> Result<()> {
        let Self { nqn, .. } = self;
        let run = guest.start(&format!("verified $(remote_disk {nqn} {nsid}) 4k 2m --rate=512k"))?;
        guest.run(&format!(
            "sleep 2; becomes {nqn} live; nvme reset /dev/$(controllers_of {nqn}); becomes {nqn} live; pidof fio >/dev/null"
        ))?;
        succeeded(guest, run).map(drop)
    }

    /// Connects and disconnects this often.
    pub fn comes_and_goes(self, guest: &mut Guest, times: u32) -> Result<()> {
        let Self { nqn, address, .. } = self;
        let options = format!("-a {address} -n {nqn} -i 1 --keep-alive-tmo={KEEP_ALIVE_S}");
        guest.run_within(&format!("comes_and_goes {times} {options}"), PATIENCE).map(drop)
    }

    /// Nothing of it is left in the kernel.
    pub fn is_disconnected(self, guest: &mut Guest) -> Result<()> {
        let Self { nqn, .. } = self;
        guest.run(&format!("nvme disconnect -n {nqn}; [ -z \"$(controllers_of {nqn})\" ]")).map(drop)
    }
}

/// Fails when the kernel's log has what no good log has, other than lines that match a regular expression.
pub fn is_content(guest: &mut Guest, expected: &str) -> Result<()> {
    let complaints = guest.run_failing(&format!("kernel_complains '{expected}'"))?.output;
    ensure(complaints.is_empty(), || format!("the kernel complains:\n{complaints}"))
}

/// A script's end, which must be a good one.
pub fn succeeded(guest: &mut Guest, task: Task) -> Result<Outcome> {
    let outcome = guest.wait(task, PATIENCE)?;
    if outcome.status == 0 { Ok(outcome) } else { Err(outcome.unexpected("it must succeed")) }
}

fn json(guest: &mut Guest, script: &str) -> Result<Value> {
    let printed = guest.run(script)?;
    serde_json::from_str(&printed)
        .map_err(|error| LabError::Story(format!("`{script}` printed no JSON ({error}): {printed}")))
}

/// The rest of the line that begins with a key.
fn line<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.trim().strip_prefix(key)).map(str::trim)
}

/// What [`Remote::is_discovered`] has on the wire at least.
pub const DISCOVERY: [(&str, usize); 8] = [
    ("REQ", 1),
    ("REP", 1),
    ("RTU", 1),
    ("NVMeOF Connect", 1),
    ("NVMeOF CQE for Connect", 1),
    ("NVMe Get Log Page NVMeOF Discovery", 2),
    ("NVMeOF Data for Get Log Page NVMeOF Discovery", 2),
    ("DREQ", 1),
];

/// What [`Remote::is_connected`], [`Remote::is_identified`] and [`Remote::does_a_little_of_each`] have at least. Of commands with
/// data in the capsule tshark knows those that fit a packet: not a discard, whose ranges the host always sends as a whole page; and
/// a target's READ for a write only where it is for all of it, so that these are counted as READs.
pub const EACH_KIND: [(&str, usize); 31] = [
    ("REQ", 1 + IO_QUEUES as usize),
    ("REP", 1 + IO_QUEUES as usize),
    ("RTU", 1 + IO_QUEUES as usize),
    ("NVMeOF Connect", 1 + IO_QUEUES as usize),
    ("NVMeOF Data Request for Connect", 1),
    ("NVMeoF Data for Connect", 1),
    ("NVMeOF CQE for Connect", 1 + IO_QUEUES as usize),
    ("NVMeOF Property Get Controller Capabilities", 2),
    ("NVMeOF CQE for Property Get Controller Capabilities", 2),
    ("NVMeOF Property Set Controller Configuration", 2),
    ("NVMeOF CQE for Property Set Controller Configuration", 2),
    ("NVMeOF Property Get Controller Status", 1),
    ("NVMeOF CQE for Property Get Controller Status", 1),
    ("NVMeOF Property Get Version", 1),
    ("NVMeOF CQE for Property Get Version", 1),
    ("NVMe Identify Controller", 2),
    ("NVMeOF Data for Identify Controller", 2),
    ("NVMe CQE for Identify Controller", 2),
    ("NVMe Identify Namespace", 2),
    ("NVMeOF Data for Identify Namespace", 2),
    ("NVMe Set Features", 1),
    ("NVMe CQE for Set Features", 1),
    ("NVMe Write", 9),
    ("READ", 3),
    ("RESPONSE", 33),
    ("NVMe CQE for Write", 9),
    ("NVMe Read", 3),
    ("NVMeOF Data for Read", 48),
    ("NVMe CQE for Read", 3),
    ("NVMe CQE for Flush", 1),
    ("NVMe CQE for Write Zero", 1),
];
