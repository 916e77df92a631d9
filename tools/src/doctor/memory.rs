//! Memory: how much may be locked, and hugepages.

use dma::HUGE_PAGE_BYTES;

use super::finding::{Finding, Topic, Use};
use super::machine::{Machine, bytes};

/// Locked memory below which a drive or an adapter is likely to be refused: queues and buffers of a few threads.
const MEMLOCK_BYTES_MIN: u64 = 64 << 20;

/// CAP_IPC_LOCK (capabilities(7)): limits of locked memory do not apply.
const CAP_IPC_LOCK: u32 = 14;

/// Hugepages to advise: 1 GiB.
const PAGES_ADVISED: u64 = 512;

const MEMLOCK: Topic = Topic {
    name: "memlock",
    meaning: "memory that drives and adapters write to must stay in place, and counts against this limit",
    uses: &[Use::Nvme, Use::Rdma],
};

const HUGEPAGES: Topic = Topic {
    name: "hugepages",
    meaning: "buffers are made of 2 MiB pages where some are free, and of ordinary pages otherwise, which costs a few per cent",
    uses: &[Use::Nvme, Use::Rdma, Use::Soft, Use::Target],
};

const NODES: Topic = Topic {
    name: "hugepages by node",
    meaning: "a thread takes buffers from the NUMA node of its drive or adapter",
    uses: &[Use::Nvme, Use::Rdma, Use::Target],
};

pub(super) fn examine(machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![memlock(machine), hugepages(machine)];
    findings.extend(nodes(machine));
    findings
}

fn memlock(machine: &Machine) -> Finding {
    let mend =
        "`ulimit -l unlimited`, LimitMEMLOCK=infinity for a service, or a line in /etc/security/limits.conf";
    let limit = machine.limit("Max locked memory");
    match limit {
        Some(Some(_)) if machine.is_capable(CAP_IPC_LOCK) => {
            MEMLOCK.ok("this process may lock any amount (CAP_IPC_LOCK)")
        }
        Some(None) => MEMLOCK.ok("no limit"),
        Some(Some(limit)) if limit >= MEMLOCK_BYTES_MIN => MEMLOCK.ok(bytes(limit)),
        Some(Some(limit)) => MEMLOCK.advice(format!("{} may be locked, which is little", bytes(limit)), mend),
        None => MEMLOCK.advice("the limit cannot be read", mend),
    }
}

fn hugepages(machine: &Machine) -> Finding {
    let mend = format!("`sysctl vm.nr_hugepages={PAGES_ADVISED}` (in /etc/sysctl.d to keep it)");
    let folder = format!("sys/kernel/mm/hugepages/hugepages-{}kB", HUGE_PAGE_BYTES / 1024);
    let count = |what: &str| machine.number(&format!("{folder}/{what}"));
    match (count("nr_hugepages"), count("free_hugepages")) {
        (Some(0), _) => HUGEPAGES.advice("none of 2 MiB are reserved", mend),
        (Some(all), Some(0)) => HUGEPAGES.advice(format!("{all} of 2 MiB, all in use"), mend),
        (Some(all), Some(free)) => HUGEPAGES.ok(format!("{all} of 2 MiB, {free} free")),
        _ => HUGEPAGES.advice("this kernel has none of 2 MiB", "a kernel with CONFIG_HUGETLBFS"),
    }
}

/// Nodes without hugepages, on machines with several where others have some.
fn nodes(machine: &Machine) -> Option<Finding> {
    let folder = "sys/devices/system/node";
    let names = machine.names(folder);
    let nodes = names.iter().filter(|name| is_node(name)).filter_map(|name| {
        let path = format!("{folder}/{name}/hugepages/hugepages-{}kB/nr_hugepages", HUGE_PAGE_BYTES / 1024);
        Some((name.clone(), machine.number(&path)?))
    });
    let (with, without): (Vec<_>, Vec<_>) = nodes.partition(|(_, pages)| *pages > 0);
    if with.is_empty() || with.len() + without.len() < 2 {
        return None;
    }
    let list = with.iter().map(|(name, pages)| format!("{name}: {pages}")).collect::<Vec<_>>().join(", ");
    let Some((bare, _)) = without.first() else { return Some(NODES.ok(list)) };
    let mend = format!("`echo {PAGES_ADVISED} > /{folder}/{bare}/hugepages/hugepages-2048kB/nr_hugepages`");
    let names: Vec<_> = without.iter().map(|(name, _)| name.as_str()).collect();
    Some(NODES.advice(format!("{list}; none on {}", names.join(", ")), mend))
}

fn is_node(name: &str) -> bool {
    name.strip_prefix("node").is_some_and(|rest| rest.parse::<u32>().is_ok())
}
