//! The write-intent map in memory, and how much of it is durable on which leg.
//!
//! A region is marked before a write reaches any leg, and stays marked until a flush that began after its last write has
//! completed on every leg that takes writes. What legs that are away lack is kept in the same units, so that one write of a
//! unit clears an intent and keeps the absence.

use std::collections::{BTreeMap, BTreeSet};

use block::Timestamp;

use crate::action::MapUnit;
use crate::config::{Shape, unit_regions};
use crate::ids::{HOLDERS_MAX, HolderId, HolderSet, Region};
use crate::regions::RegionSet;
use crate::wire::map_unit::{self, RegionBits, UNIT_REGIONS};

/// Most units that one action writes: 64 KiB.
pub(crate) const RUN_UNITS_MAX: u32 = 128;

/// A state of a unit that must be durable: its index and its version.
pub(crate) type Need = (u32, u64);

/// A marked region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// The state of its unit that has the mark.
    pub(crate) need: Need,
    /// Writes of the region that have not ended.
    pub(crate) writers: u32,
    /// When the newest of its writes and repairs ended, in ticks.
    pub(crate) last_tick: u64,
    /// When it was last used.
    pub(crate) used_at: Timestamp,
    /// A flush has covered everything that was written to it.
    pub(crate) is_clean: bool,
    /// The legs may differ in it.
    pub(crate) is_unequal: bool,
}

/// How much of the map a leg has.
#[derive(Clone, Debug)]
struct OnLeg {
    /// By unit: the newest version that is durable, and the one that is on its way.
    durable: Vec<u64>,
    on_its_way: Vec<Option<u64>>,
    stale: BTreeSet<u32>,
}

/// The map.
#[derive(Debug)]
pub(crate) struct IntentMap {
    shape: Shape,
    regions_max: usize,
    marks: BTreeMap<Region, Mark>,
    /// Marks that are being cleared: they count until that is durable.
    clearing: BTreeMap<Region, Need>,
    lacks: [RegionSet; HOLDERS_MAX],
    /// By unit: what it is in memory, counted.
    versions: Vec<u64>,
    legs: [Option<OnLeg>; HOLDERS_MAX],
}

impl IntentMap {
    pub(crate) fn new(shape: Shape, regions_max: u32) -> Self {
        Self {
            shape,
            regions_max: usize::try_from(regions_max).unwrap_or(usize::MAX),
            marks: BTreeMap::new(),
            clearing: BTreeMap::new(),
            lacks: Default::default(),
            versions: vec![1; shape.units() as usize],
            legs: Default::default(),
        }
    }

    fn unit_of(region: Region) -> u32 {
        region.0 / unit_regions()
    }

    /// The unit becomes another one. If `now`, legs get it as soon as they can.
    fn change(&mut self, unit: u32, is_wanted: bool) -> Need {
        let version = &mut self.versions[unit as usize];
        *version += 1;
        let need = (unit, *version);
        if is_wanted {
            self.legs.iter_mut().flatten().for_each(|leg| {
                leg.stale.insert(unit);
            });
        }
        need
    }

    /// Regions that are marked on some leg, at most.
    pub(crate) fn marked(&self) -> usize {
        self.marks.len() + self.clearing.len()
    }

    pub(crate) fn mark_of(&self, region: Region) -> Option<&Mark> {
        self.marks.get(&region)
    }

    pub(crate) fn marks(&self) -> impl Iterator<Item = (Region, &Mark)> {
        self.marks.iter().map(|(region, mark)| (*region, mark))
    }

    pub(crate) fn mark_mut(&mut self, region: Region) -> Option<&mut Mark> {
        self.marks.get_mut(&region)
    }

    pub(crate) fn marks_mut(&mut self) -> impl Iterator<Item = (Region, &mut Mark)> {
        self.marks.iter_mut().map(|(region, mark)| (*region, mark))
    }

    /// Whether these regions can be marked at once; if not, some that are clean begin to be cleared.
    pub(crate) fn make_room(&mut self, regions: &[Region]) -> bool {
        let new = |map: &Self| regions.iter().filter(|region| !map.marks.contains_key(region)).count();
        let again = regions.iter().filter(|region| self.clearing.contains_key(region)).count();
        let wanted = self.marked() + new(self) - again;
        if wanted <= self.regions_max {
            return true;
        }
        let mut clean: Vec<_> = self
            .marks()
            .filter(|(region, mark)| mark.is_clean && mark.writers == 0 && !regions.contains(region))
            .map(|(region, mark)| (mark.used_at, region))
            .collect();
        clean.sort_unstable();
        let in_progress = self.clearing.len();
        let excess = (wanted - self.regions_max).saturating_sub(in_progress);
        clean.into_iter().take(excess).for_each(|(_, region)| self.clear(region));
        false
    }

    /// Marks a region, which is noted besides as lacking for `absent`.
    pub(crate) fn mark(&mut self, region: Region, absent: HolderSet, now: Timestamp) {
        if let Some(mark) = self.marks.get_mut(&region) {
            mark.used_at = now;
            return;
        }
        absent.iter().for_each(|leg| {
            self.lacks[leg.index()].insert(region);
        });
        self.clearing.remove(&region);
        let need = self.change(Self::unit_of(region), true);
        let mark = Mark { need, writers: 0, last_tick: 0, used_at: now, is_clean: false, is_unequal: false };
        self.marks.insert(region, mark);
    }

    /// Begins to clear a mark.
    pub(crate) fn clear(&mut self, region: Region) {
        if self.marks.remove(&region).is_some() {
            let need = self.change(Self::unit_of(region), true);
            self.clearing.insert(region, need);
        }
    }

    /// Whether a state of a unit is durable on every leg that takes marks.
    pub(crate) fn is_durable(&self, (unit, version): Need) -> bool {
        self.legs.iter().flatten().all(|leg| leg.durable[unit as usize] >= version)
    }

    /// Whether it is on one.
    pub(crate) fn is_durable_somewhere(&self, (unit, version): Need) -> bool {
        self.legs.iter().flatten().any(|leg| leg.durable[unit as usize] >= version)
    }

    /// A leg takes marks from now on, beginning with the whole map.
    pub(crate) fn add_leg(&mut self, leg: HolderId) {
        let units = self.versions.len();
        self.legs[leg.index()] = Some(OnLeg {
            durable: vec![0; units],
            on_its_way: vec![None; units],
            stale: (0..self.shape.units()).collect(),
        });
    }

    /// A leg takes marks from now on, and has the map as it is.
    pub(crate) fn add_complete_leg(&mut self, leg: HolderId) {
        self.legs[leg.index()] = Some(OnLeg {
            durable: self.versions.clone(),
            on_its_way: vec![None; self.versions.len()],
            stale: BTreeSet::new(),
        });
    }

    pub(crate) fn remove_leg(&mut self, leg: HolderId) {
        self.legs[leg.index()] = None;
        self.settle_clearing();
    }

    /// Whether a leg has been given every unit once.
    pub(crate) fn is_whole_on(&self, leg: HolderId) -> bool {
        self.legs[leg.index()].as_ref().is_some_and(|leg| leg.durable.iter().all(|version| *version > 0))
    }

    /// The next units in a row that a leg should write, if there are any.
    pub(crate) fn next_run(&mut self, leg: HolderId) -> Option<(u32, u32)> {
        let versions = &self.versions;
        let leg = self.legs[leg.index()].as_mut()?;
        let is_free = |unit: u32| leg.on_its_way[unit as usize].is_none();
        let first = leg.stale.iter().copied().find(|unit| is_free(*unit))?;
        let run = (first..).take_while(|unit| leg.stale.contains(unit) && is_free(*unit));
        let count = run.take(RUN_UNITS_MAX as usize).count();
        let count = u32::try_from(count).unwrap_or(RUN_UNITS_MAX);
        for unit in first..first + count {
            leg.stale.remove(&unit);
            leg.on_its_way[unit as usize] = Some(versions[unit as usize]);
        }
        Some((first, count))
    }

    /// Units that a leg was writing are durable.
    pub(crate) fn written(&mut self, leg: HolderId, first: u32, count: u32) {
        let Some(on_leg) = self.legs[leg.index()].as_mut() else { return };
        for unit in first..first + count {
            if let Some(version) = on_leg.on_its_way[unit as usize].take() {
                on_leg.durable[unit as usize] = version;
            }
        }
        self.settle_clearing();
    }

    fn settle_clearing(&mut self) {
        let done: Vec<_> = self
            .clearing
            .iter()
            .filter(|(_, need)| self.is_durable(**need))
            .map(|(region, _)| *region)
            .collect();
        done.iter().for_each(|region| {
            self.clearing.remove(region);
        });
    }

    /// A unit as it is to be stored.
    pub(crate) fn unit(&self, mirror: uuid::Uuid, unit: u32) -> MapUnit {
        let (first, end) = (Region(unit * unit_regions()), Region((unit + 1) * unit_regions()));
        let place = |region: Region| (region.0 - first.0) as usize;
        let intents = self.marks.range(first..end).map(|(region, _)| (place(*region), RegionBits::INTENT));
        let lacks = (0..HOLDERS_MAX).filter_map(HolderId::new).flat_map(|leg| {
            let bits = RegionBits { intent: false, lacks: HolderSet::EMPTY.with(leg) };
            self.lacks[leg.index()].range(first, end).map(move |region| (place(region), bits))
        });
        map_unit::encode(mirror, unit, intents.chain(lacks))
    }

    pub(crate) fn lacks(&self, leg: HolderId) -> &RegionSet {
        &self.lacks[leg.index()]
    }

    /// A leg lacks regions. They become durable with the next write of their units: until then their marks, which are not
    /// cleared without such a write, say the same.
    pub(crate) fn add_lacks(&mut self, leg: HolderId, regions: impl IntoIterator<Item = Region>) {
        self.lacks[leg.index()].extend(regions);
    }

    /// A leg lacks a region no longer; legs hear of it with the next write of the unit.
    pub(crate) fn remove_lack(&mut self, leg: HolderId, region: Region) {
        if self.lacks[leg.index()].remove(region) {
            self.change(Self::unit_of(region), false);
        }
    }

    /// A leg lacks nothing any more.
    pub(crate) fn clear_lacks(&mut self, leg: HolderId) {
        self.lacks[leg.index()].clear();
    }

    /// Adds what a leg's map says: its intents are marks, and `lacks` says of which legs it knows what they lack.
    pub(crate) fn load(&mut self, map: &LoadedMap, lacking: HolderSet, now: Timestamp) {
        for (region, bits) in &map.regions {
            if bits.intent {
                self.mark(*region, lacking, now);
            }
            for leg in bits.lacks.and(lacking).iter() {
                self.lacks[leg.index()].insert(*region);
            }
        }
    }
}

/// What a leg's map said when it was read: the regions that have a bit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LoadedMap {
    pub(crate) regions: Vec<(Region, RegionBits)>,
}

impl LoadedMap {
    /// What the units say; of those that are missing or damaged, the worst.
    pub(crate) fn decode(mirror: uuid::Uuid, shape: &Shape, units: &[Option<MapUnit>]) -> Self {
        let mut regions = Vec::new();
        for unit in 0..shape.units() {
            let bytes = units.get(unit as usize).and_then(Option::as_ref);
            let bits = bytes.and_then(|bytes| map_unit::decode(mirror, unit, bytes));
            let worst = || (0..UNIT_REGIONS).map(|place| (place, RegionBits::WORST)).collect();
            let first = unit * unit_regions();
            let region = |place: usize| Region(first + u32::try_from(place).unwrap_or(u32::MAX - first));
            let named = bits.unwrap_or_else(worst).into_iter().map(|(place, bits)| (region(place), bits));
            regions.extend(named.filter(|(region, _)| region.0 < shape.regions()));
        }
        Self { regions }
    }

    /// The regions whose write intent is set.
    pub(crate) fn intents(&self) -> impl Iterator<Item = Region> {
        self.regions.iter().filter(|(_, bits)| bits.intent).map(|(region, _)| *region)
    }
}
