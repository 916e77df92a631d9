//! A seed's story: chaos, healing, and then everything must be well.

use block::{BlockRange, Op};
use nvme_spec::Lba;
use replication::wire::label::Label;
use replication::{HolderState, Mutation, Phase};
use sim::Coverage;

use crate::world::{BLOCKS, Event, World, us};

/// How long things go wrong.
const CHAOS_NS: u64 = 80_000_000;

/// How long healing may take: a few timeouts, and all resyncs.
const HEALING_NS_MAX: u64 = 2_000_000_000;

/// Runs a seed.
pub fn run(seed: u64, mutation: Option<Mutation>) -> Coverage {
    let mut world = World::new(seed, mutation);
    world.start_process();
    world.at(us(3000), Event::Fault);
    while world.step(CHAOS_NS) {
        world.replace_fenced();
    }
    world.heal();
    let end = world.now + HEALING_NS_MAX;
    let users_end = world.now + us(10_000);
    while !(world.now > users_end && world.is_well()) {
        world.has_client = world.now <= users_end;
        assert!(world.step(end), "not in sync again long after everything was mended: {}", world.describe());
        world.replace_fenced();
        world.start_if_nobody();
    }
    world.has_client = false;
    world.verify(end);
    world.finish();
    world.coverage
}

impl World {
    /// An operator starts a writer that was fenced again, after a while.
    fn replace_fenced(&mut self) {
        for process in self.alive() {
            let mirror = self.processes[process].mirror.as_ref();
            let is_fenced = mirror.is_some_and(|mirror| mirror.phase() == Phase::Fenced);
            if is_fenced && (self.is_healed || self.dice.happens(20_000)) {
                assert!(self.processes[process].pending.is_empty(), "a fenced writer keeps requests");
                self.crash(process);
            }
        }
    }

    fn start_if_nobody(&mut self) {
        if self.alive().is_empty() {
            self.start_process();
        }
    }

    fn is_well(&self) -> bool {
        let [process] = self.alive()[..] else { return false };
        let known = &self.processes[process];
        let Some(mirror) = &known.mirror else { return false };
        let legs = self.description.legs();
        let status = mirror.status();
        known.pending.is_empty()
            && status.phase == Phase::Serving
            && status.is_settled
            && legs.iter().all(|leg| status.holders[leg.index()].state == HolderState::InSync)
    }

    fn describe(&self) -> String {
        let one = |process: &usize| {
            let known = &self.processes[*process];
            format!(
                "writer {process}: {:?}, {} requests",
                known.mirror.as_ref().map(|m| m.status()),
                known.pending.len()
            )
        };
        self.alive().iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// All blocks are read; then all legs are the same, and as they may be.
    fn verify(&mut self, end: u64) {
        let process = self.alive()[0];
        for block in 0..BLOCKS {
            self.request(process, Op::Read, BlockRange::new(Lba(block), 1));
            while !self.processes[process].pending.is_empty() {
                assert!(self.step(end), "a read does not end");
            }
        }
        // Regions that were marked are made equal in the background.
        let quiet = self.now + us(200_000);
        while self.step(quiet) {}
        assert!(self.is_well(), "not well any more: {}", self.describe());
        let legs = self.description.legs();
        for leg in legs.iter() {
            let (label, _) = Label::newest(&self.devices[leg.index()].labels).expect("a good label");
            assert_eq!(label.in_sync, legs, "the label of {leg} does not say that all legs are in sync");
        }
        for block in 0..BLOCKS {
            let values: Vec<_> = legs.iter().map(|leg| self.devices[leg.index()].block(block)).collect();
            assert!(
                values.iter().all(|value| *value == values[0]),
                "legs differ in block {block}: {values:?}"
            );
            assert!(self.model.may_hold(block, values[0]), "block {block} holds {}", values[0]);
        }
    }
}
