//! A host against a controller in one process, under virtual time, with faults by a seed: connections that break, requests that are
//! refused, messages that are held back until keep-alives expire, resets, a target that begins anew, namespaces that come, go and
//! grow, all of it under I/O whose data is checked.
//!
//! What holds for every seed: an acknowledged write is read back, also after the controller was lost; a write of a former association
//! never lands after one of the next (the device keeps them for seconds); what no longer belongs to the controller is never touched;
//! when the faults have stopped the association is there again, knows the target's namespaces, and ends in order; nothing is left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod host_side;
mod target_side;
mod workload;
mod world;

use std::collections::BTreeMap;
use std::time::Duration;

use nvmf::controller::SubsystemOptions;
use nvmf::host::discovery::{DiscoveryLog, RdmaEndpoint};
use nvmf::host::{HostController, HostIdentity, HostOptions, HostState};
use sim::run_seeds;
use world::World;

const SEEDS: u64 = 12;
/// How long faults happen, in virtual time.
const TROUBLE: Duration = Duration::from_secs(60);
/// How long it may take after them until all is well.
const RECOVERY: Duration = Duration::from_secs(30);

fn scenario(seed: u64) -> BTreeMap<&'static str, u64> {
    let mut world = World::new(seed);
    world.start();
    world.run_for(TROUBLE);
    world.heal();
    world.run_for(RECOVERY);
    assert_eq!(world.host.state(), HostState::Live, "the association comes back");
    world.check_everything();
    world.shut_down();
    world.run_for(RECOVERY);
    world.check_nothing_is_left();
    world.counts
}

#[test]
fn an_acknowledged_write_survives_whatever_happens_to_the_association() {
    let mut counts = BTreeMap::new();
    run_seeds(SEEDS, scenario, |run| {
        for (what, times) in run {
            *counts.entry(what).or_insert(0) += times;
        }
    });
    if std::env::var(sim::SEED_VARIABLE).is_ok() {
        return;
    }
    // Whatever the seeds are about must have happened.
    for what in [
        "live",
        "lost",
        "attempt failed",
        "connection broken",
        "rejected",
        "held back",
        "keep-alive expired",
        "reset",
        "target restarted",
        "namespaces changed",
        "held connect",
        "write acknowledged",
        "write lost",
        "read checked",
        "in capsule",
    ] {
        assert!(counts.get(what).is_some_and(|times| *times > 0), "never happened: {what}; {counts:#?}");
    }
}

/// The names that a log tells, each with its address.
fn told(log: &DiscoveryLog) -> Vec<(String, String)> {
    let endpoints = log.entries.iter().map(|entry| RdmaEndpoint::try_from(entry).unwrap());
    endpoints.map(|one| (one.subsystem.to_string(), one.address.to_string())).collect()
}

#[test]
fn a_discovery_controller_tells_its_log_and_that_it_changed_and_lives_by_keep_alives() {
    let mut world = World::new(1);
    let identity = HostIdentity::of_uuid(uuid::Uuid::from_u128(7));
    world.host = HostController::new(HostOptions::discovery(identity)).unwrap();
    world.heal();
    // A wildcard: what is told is the address at which the host arrived.
    world.target.set_listeners(vec!["0.0.0.0:4420".parse().unwrap()]);
    world.start();
    world.run_for(Duration::from_secs(1));
    let entry = |name: &str| (name.to_owned(), "10.0.0.1:4420".to_owned());
    let discovery = entry("nqn.2014-08.org.nvmexpress.discovery");
    assert_eq!(world.discovered.len(), 1);
    assert_eq!(told(&world.discovered[0]), [discovery.clone(), entry(target_side::SUBSYSTEM)]);
    let another = "nqn.2024-05.com.example:later";
    let options = SubsystemOptions::new(another.parse().unwrap(), "later");
    world.target.add_subsystem(SubsystemOptions { allow_any_host: true, ..options }).unwrap();
    world.drain_target();
    world.run_for(Duration::from_secs(200));
    assert_eq!(world.host.state(), HostState::Live);
    assert_eq!(world.discovered.len(), 2, "read again when it changed, and only then");
    let [mut first, second] = [&world.discovered[0], &world.discovered[1]].map(told);
    first.push(entry(another));
    first.sort();
    let mut sorted = second.clone();
    sorted.sort();
    assert_eq!((second.first(), sorted), (Some(&discovery), first));
    world.shut_down();
    world.run_for(Duration::from_secs(1));
    world.check_nothing_is_left();
}
