//! I/O whose data is checked: areas of blocks, each with one command in flight at most.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use block::{BlockRange, Incarnation, IoError, Op};
use nvme_spec::{Lba, Nsid};
use nvmf::host::{IoCommand, NamespaceMap};

use crate::target_side::{block, name, stamp};
use crate::world::{Arrival, TargetEnd, World};

pub const BLOCK_BYTES: usize = 512;
/// Blocks of the namespace.
pub const BLOCKS: u64 = AREAS * AREA_BLOCKS;
const AREAS: u64 = 40;
const AREA_BLOCKS: u64 = 24;
/// A command has all of its area: one block, 4 KiB, or more than a capsule holds.
const SIZES: [u64; 3] = [1, 8, AREA_BLOCKS];

/// A command's meaning.
#[derive(Clone, Copy, Debug)]
pub enum Piece {
    Write { area: u64, stamp: u64 },
    Read { area: u64 },
    Flush,
}

/// What is known of the areas.
#[derive(Default)]
pub struct Workload {
    pub incarnation: Incarnation,
    busy: BTreeSet<u64>,
    /// What an area may hold: one stamp, or several after a write whose end is not known.
    may_hold: BTreeMap<u64, BTreeSet<u64>>,
    last_stamp: u64,
}

fn size(area: u64) -> u64 {
    SIZES[(area % 3) as usize]
}

impl World {
    pub fn work(&mut self) {
        self.after(Duration::from_millis(20), Arrival::Work);
        let queues: Vec<_> = self.owner.queues.keys().copied().collect();
        if !self.owner.may_send || queues.is_empty() {
            return;
        }
        for _ in 0..4 {
            let area = self.dice.below(AREAS);
            if !self.workload.busy.insert(area) {
                continue;
            }
            let queue = self.dice.choose(&queues);
            let range = BlockRange::new(Lba(area * AREA_BLOCKS), size(area));
            let bytes = size(area) as usize * BLOCK_BYTES;
            let command = |op, range| IoCommand { nsid: Nsid(1), op, range };
            let sent = match self.dice.below(10) {
                0..5 => {
                    self.workload.last_stamp += 1;
                    let stamp = self.workload.last_stamp;
                    let data = (0..size(area)).flat_map(|_| block(stamp)).collect();
                    let fua = self.dice.happens(200_000);
                    self.submit(queue, Piece::Write { area, stamp }, &command(Op::Write { fua }, range), data)
                }
                5 => {
                    let zeroes = Op::WriteZeroes { fua: false, may_unmap: true };
                    self.submit(queue, Piece::Write { area, stamp: 0 }, &command(zeroes, range), Vec::new())
                }
                6 => {
                    let flush = command(Op::Flush, BlockRange::default());
                    self.submit(queue, Piece::Flush, &flush, Vec::new());
                    false
                }
                _ => self.submit(queue, Piece::Read { area }, &command(Op::Read, range), vec![0xee; bytes]),
            };
            if !sent {
                self.workload.busy.remove(&area);
            }
        }
    }

    pub fn finished(&mut self, piece: Piece, result: Result<(), IoError>, data: Option<Vec<u8>>) {
        match piece {
            Piece::Flush => {}
            Piece::Write { area, stamp } => {
                self.workload.busy.remove(&area);
                let may_hold = self.workload.may_hold.entry(area).or_insert_with(|| BTreeSet::from([0]));
                if result.is_ok() {
                    may_hold.clear();
                }
                may_hold.insert(stamp);
                self.count(if result.is_ok() { "write acknowledged" } else { "write lost" });
            }
            Piece::Read { area } => {
                self.workload.busy.remove(&area);
                if result.is_ok() {
                    let data = data.expect("a read has memory");
                    self.check(area, data.chunks(BLOCK_BYTES).map(stamp).collect());
                    self.count("read checked");
                }
            }
        }
    }

    fn check(&self, area: u64, stamps: BTreeSet<u64>) {
        let nothing = BTreeSet::from([0]);
        let may_hold = self.workload.may_hold.get(&area).unwrap_or(&nothing);
        assert!(stamps.is_subset(may_hold), "area {area} holds {stamps:?} and may hold {may_hold:?}");
    }

    /// After trouble: what is on the media is what was acknowledged, and both sides know the same namespaces.
    pub fn check_everything(&self) {
        for area in 0..AREAS {
            if self.workload.busy.contains(&area) {
                continue;
            }
            let blocks = area * AREA_BLOCKS..area * AREA_BLOCKS + size(area);
            let stamps = blocks.map(|lba| self.storage.get(&(Nsid(1), lba)).copied().unwrap_or(0));
            self.check(area, stamps.collect());
        }
        let known = |map: &NamespaceMap| -> Vec<(Nsid, u64)> {
            map.iter().map(|(nsid, one)| (*nsid, one.as_ref().unwrap().geometry.blocks)).collect()
        };
        let controller = self.target.controllers().next().expect("a controller");
        assert_eq!(controller.subsystem, &name());
        let map = self.target.namespaces(controller.key);
        let served: Vec<_> = (1..10)
            .filter_map(|nsid| map.get(Nsid(nsid)))
            .map(|one| (one.nsid, one.geometry.blocks))
            .collect();
        assert_eq!(known(self.host.namespaces()), served);
        let ends = self.connections.values().filter(|one| !matches!(one.end, TargetEnd::None)).count();
        assert_eq!(ends, 1 + self.owner.queues.len(), "one admin queue and its I/O queues");
    }
}
