//! The kernel and the processors.

use super::finding::{Finding, Topic, Use};
use super::machine::Machine;

/// The first kernel whose sockets merge datagrams (UDP_GRO).
const KERNEL_MIN: (u32, u32) = (5, 0);

/// Descriptors below which a target with many devices and threads runs out: each queue of each device has one or two.
const DESCRIPTORS_MIN: u64 = 4096;

/// Processors below which a target and what it serves wait for one another.
const PROCESSORS_MIN: usize = 2;

const ALL: &[Use] = &[Use::Nvme, Use::Rdma, Use::Soft, Use::Target];

const KERNEL: Topic = Topic {
    name: "kernel",
    meaning: "UDP in batches (UDP_SEGMENT, UDP_GRO) needs 5.0, and carries RDMA in userspace",
    uses: &[Use::Soft],
};

const IO_URING: Topic = Topic {
    name: "io_uring",
    meaning: "files and kernel block devices (file:) are read and written by it",
    uses: &[Use::Target],
};

const DESCRIPTORS: Topic = Topic {
    name: "nofile",
    meaning: "each thread has descriptors for each device and listener",
    uses: &[Use::Target],
};

const PROCESSORS: Topic = Topic {
    name: "processors",
    meaning: "threads that serve I/O poll while there is work, and are best pinned to processors that nobody else uses",
    uses: ALL,
};

const QUOTA: Topic = Topic {
    name: "processor quota",
    meaning: "a control group that runs out of its share stops all threads until the next period: latencies of 100 ms",
    uses: ALL,
};

const GOVERNOR: Topic = Topic {
    name: "frequency",
    meaning: "processors that clock down while they wait answer the next request late",
    uses: ALL,
};

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![kernel(machine), io_uring(machine), descriptors(machine), processors(machine)];
    findings.extend(quota(machine));
    findings.extend(governor(machine));
    findings
}

fn kernel(machine: &Machine) -> Finding {
    let Some(release) = machine.word("proc/sys/kernel/osrelease") else {
        return KERNEL.advice("its version cannot be read", "mount /proc");
    };
    match version(&release) {
        Some(version) if version >= KERNEL_MIN => KERNEL.ok(release),
        Some(_) => {
            KERNEL.advice(format!("{release}: packets are sent one by one"), "a kernel of 5.0 or later")
        }
        None => KERNEL.ok(format!("{release}, of an unknown kind")),
    }
}

/// The first two numbers of a release such as `6.12.0-1-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn io_uring(machine: &Machine) -> Finding {
    match machine.number("proc/sys/kernel/io_uring_disabled") {
        Some(2) => IO_URING
            .advice("switched off: file: devices cannot be opened", "`sysctl kernel.io_uring_disabled=0`"),
        Some(1) => IO_URING.advice(
            "for some only: file: devices need CAP_SYS_ADMIN or the group of kernel.io_uring_group",
            "`sysctl kernel.io_uring_disabled=0`",
        ),
        // Older kernels cannot switch it off.
        _ => IO_URING.ok("not switched off"),
    }
}

fn descriptors(machine: &Machine) -> Finding {
    let mend = "`ulimit -n 65536`, or LimitNOFILE=65536 for a service";
    match machine.limit("Max open files") {
        Some(None) => DESCRIPTORS.ok("no limit"),
        Some(Some(limit)) if limit >= DESCRIPTORS_MIN => DESCRIPTORS.ok(format!("{limit} descriptors")),
        Some(Some(limit)) => DESCRIPTORS.advice(format!("{limit} descriptors, which is little"), mend),
        None => DESCRIPTORS.advice("the limit cannot be read", mend),
    }
}

fn processors(machine: &Machine) -> Finding {
    let status = machine.text("proc/self/status").unwrap_or_default();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let online = machine.word("sys/devices/system/cpu/online").unwrap_or_default();
    let allowed = allowed.map_or_else(|| online.clone(), |list| list.trim().to_owned());
    let isolated = machine.word("sys/devices/system/cpu/isolated").filter(|list| !list.is_empty());
    let Some(count) = count_of(&allowed) else {
        return PROCESSORS.advice("how many there are cannot be read", "mount /proc and /sys");
    };
    let isolated = isolated.map_or_else(|| "none isolated".to_owned(), |list| format!("isolated: {list}"));
    let words = format!("{count} for this process ({allowed}), {isolated}");
    if count < PROCESSORS_MIN {
        return PROCESSORS
            .advice(words, "more processors: one for a target's thread, one for everything else");
    }
    PROCESSORS.ok(words)
}

/// How many numbers a list such as `0-3,8` names.
fn count_of(list: &str) -> Option<usize> {
    let part = |part: &str| -> Option<usize> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    list.split(',').map(|text| part(text.trim())).try_fold(0usize, |sum, part| sum.checked_add(part?))
}

/// The share of processors that this process's control group has, if there is a limit (version 2 of control groups).
fn quota(machine: &Machine) -> Option<Finding> {
    let groups = machine.text("proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?.trim().to_owned();
    let words = machine.word(&format!("sys/fs/cgroup/{group}/cpu.max"))?;
    let (quota, period) = words.split_once(' ')?;
    if quota == "max" {
        return Some(QUOTA.ok("no limit"));
    }
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.trim().parse().ok()?);
    let hundredths = quota.checked_mul(100)?.checked_div(period)?;
    let words = format!("{}.{:02} processors", hundredths / 100, hundredths % 100);
    Some(QUOTA.advice(
        words,
        "no quota for what serves I/O: CPUQuota= of the service empty, and no CPU limit of the container",
    ))
}

fn governor(machine: &Machine) -> Option<Finding> {
    let governor = machine.word("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")?;
    if governor == "performance" {
        return Some(GOVERNOR.ok(governor));
    }
    Some(GOVERNOR.advice(governor, "`cpupower frequency-set -g performance`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_and_lists_are_read() {
        assert_eq!(version("6.12.0-1-amd64"), Some((6, 12)));
        assert_eq!((version("4.19"), version("six"), version("")), (Some((4, 19)), None, None));
        assert_eq!((count_of("0-3,8"), count_of("5"), count_of("0-1, 4-4")), (Some(5), Some(1), Some(3)));
        let odd = ["", "3-1", "a", "0-", "-", "1,,2"];
        assert!(odd.iter().all(|list| count_of(list).is_none()));
        assert_eq!(count_of(&format!("0-{}", usize::MAX)), None);
    }
}
