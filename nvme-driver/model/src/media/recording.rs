//! A medium that knows what was synced, and that loses the rest in a power cut.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Durability, Media, MediaError, MemoryMedia};
use crate::faults::SplitMix64;

/// Writes that are remembered in order. When there are more, the oldest half reaches the medium, as in any cache.
const PENDING_MAX: usize = 8192;

/// A write or a deallocation that reached the cache.
#[derive(Clone, Debug)]
struct Pending {
    start: u64,
    blocks: u64,
    /// Nothing for a deallocation.
    data: Option<Vec<u8>>,
    durable: bool,
}

impl Pending {
    fn apply(&self, image: &mut MemoryMedia) {
        self.apply_part(image, 0, self.blocks);
    }

    /// Applies `blocks` blocks from the `first` one on.
    fn apply_part(&self, image: &mut MemoryMedia, first: u64, blocks: u64) {
        let start = self.start + first;
        let done = match &self.data {
            None => image.deallocate(start, blocks, Durability::Durable),
            Some(data) => {
                let bytes =
                    |blocks: u64| usize::try_from(blocks * u64::from(image.block_bytes())).unwrap_or(0);
                let part = &data[bytes(first)..bytes(first + blocks)];
                image.write(start, part, Durability::Durable)
            }
        };
        debug_assert!(done.is_ok(), "memory takes every write");
    }
}

#[derive(Debug)]
struct Recorder {
    /// What a power cut cannot take.
    durable: MemoryMedia,
    /// What reads see.
    seen: MemoryMedia,
    pending: Vec<Pending>,
    atomic_blocks: u64,
    syncs: u64,
}

impl Recorder {
    fn push(&mut self, pending: Pending) {
        pending.apply(&mut self.seen);
        if pending.durable && self.pending.is_empty() {
            pending.apply(&mut self.durable);
            return;
        }
        self.pending.push(pending);
        if self.pending.len() > PENDING_MAX {
            self.destage(PENDING_MAX / 2);
        }
    }

    /// The oldest writes reach the medium, in order: a durable one is never below an older one that was not.
    fn destage(&mut self, count: usize) {
        for pending in self.pending.drain(..count) {
            pending.apply(&mut self.durable);
        }
    }

    fn power_cut(&self, seed: u64) -> MemoryMedia {
        let mut random = SplitMix64(seed);
        let mut image = self.durable.clone();
        for pending in &self.pending {
            match random.next() % 3 {
                _ if pending.durable => pending.apply(&mut image),
                0 => {}
                1 => pending.apply(&mut image),
                _ => self.tear(pending, &mut random, &mut image),
            }
        }
        image
    }

    /// Keeps an arbitrary subset of a write's blocks, if the drive does not promise that the write is whole or nothing.
    fn tear(&self, pending: &Pending, random: &mut SplitMix64, image: &mut MemoryMedia) {
        if pending.data.is_some() && pending.blocks <= self.atomic_blocks {
            return pending.apply(image);
        }
        // A deallocation may span 2^64 blocks; it is torn in two places at most.
        if pending.data.is_none() {
            let from = random.next() % pending.blocks;
            return pending.apply_part(image, from, 1 + random.next() % (pending.blocks - from));
        }
        for block in 0..pending.blocks {
            if random.chance(500_000) {
                pending.apply_part(image, block, 1);
            }
        }
    }
}

/// Blocks in memory with a cache that a power cut empties. A handle: clones are the same medium.
#[derive(Clone, Debug)]
pub struct RecordingMedia {
    recorder: Arc<Mutex<Recorder>>,
}

impl RecordingMedia {
    /// `blocks` zeroed blocks; writes of up to `atomic_blocks` blocks are never torn (AWUPF + 1).
    #[must_use]
    pub fn new(block_bytes: u32, blocks: u64, atomic_blocks: u16) -> Self {
        Self::from_image(MemoryMedia::new(block_bytes, blocks), atomic_blocks)
    }

    /// Goes on with what a power cut left.
    #[must_use]
    pub fn from_image(image: MemoryMedia, atomic_blocks: u16) -> Self {
        let recorder = Recorder {
            durable: image.clone(),
            seen: image,
            pending: Vec::new(),
            atomic_blocks: atomic_blocks.max(1).into(),
            syncs: 0,
        };
        Self { recorder: Arc::new(Mutex::new(recorder)) }
    }

    fn lock(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a power cut now would leave: everything synced, and of the rest a subset that the seed chooses. Each write
    /// is kept, lost or torn by itself, and an older one may survive a newer one.
    #[must_use]
    pub fn power_cut(&self, seed: u64) -> MemoryMedia {
        self.lock().power_cut(seed)
    }

    /// What the worst power cut would leave: everything synced and nothing else.
    #[must_use]
    pub fn synced(&self) -> MemoryMedia {
        let recorder = self.lock();
        let mut image = recorder.durable.clone();
        recorder
            .pending
            .iter()
            .filter(|pending| pending.durable)
            .for_each(|pending| pending.apply(&mut image));
        image
    }

    /// Writes that a power cut could take.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.lock().pending.iter().filter(|pending| !pending.durable).count()
    }

    /// How often it was synced.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }
}

impl Media for RecordingMedia {
    fn block_bytes(&self) -> u32 {
        self.lock().seen.block_bytes()
    }

    fn blocks(&self) -> u64 {
        self.lock().seen.blocks()
    }

    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.lock().seen.read(start, into)
    }

    fn write(&mut self, start: u64, from: &[u8], durability: Durability) -> Result<(), MediaError> {
        let mut recorder = self.lock();
        let blocks = from.len() as u64 / u64::from(recorder.seen.block_bytes());
        let durable = durability == Durability::Durable;
        recorder.push(Pending { start, blocks, data: Some(from.to_vec()), durable });
        Ok(())
    }

    fn deallocate(&mut self, start: u64, blocks: u64, durability: Durability) -> Result<(), MediaError> {
        if blocks > 0 {
            let durable = durability == Durability::Durable;
            self.lock().push(Pending { start, blocks, data: None, durable });
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), MediaError> {
        let mut recorder = self.lock();
        let all = recorder.pending.len();
        recorder.destage(all);
        recorder.syncs += 1;
        Ok(())
    }

    fn resize(&mut self, blocks: u64) -> Result<(), MediaError> {
        let mut recorder = self.lock();
        let all = recorder.pending.len();
        recorder.destage(all);
        recorder.durable.resize(blocks)?;
        recorder.seen.resize(blocks)
    }

    fn store_note(&mut self, note: &[u8]) -> Result<(), MediaError> {
        self.lock().durable.store_note(note)
    }

    fn load_note(&self) -> Vec<u8> {
        self.lock().durable.load_note()
    }

    fn allocated_blocks(&self) -> u64 {
        self.lock().seen.allocated_blocks()
    }
}

#[cfg(test)]
mod tests;
