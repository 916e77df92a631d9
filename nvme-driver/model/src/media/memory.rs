//! A sparse medium in memory: what was never written takes no space and reads as zeroes.

use std::collections::HashMap;

use super::{Durability, Media, MediaError};

/// Bytes of a chunk, the unit of allocation.
const CHUNK_BYTES: usize = 64 << 10;

/// Blocks in memory. Durable for as long as the process lives.
#[derive(Clone, Debug)]
pub struct MemoryMedia {
    block_bytes: u32,
    blocks: u64,
    chunks: HashMap<u64, Box<[u8]>>,
    note: Vec<u8>,
}

impl MemoryMedia {
    /// `blocks` zeroed blocks of `block_bytes` bytes, which is a power of two from 512 to 65536.
    #[must_use]
    pub fn new(block_bytes: u32, blocks: u64) -> Self {
        assert!(block_bytes.is_power_of_two() && (512..=65536).contains(&block_bytes), "a block size");
        Self { block_bytes, blocks, chunks: HashMap::new(), note: Vec::new() }
    }

    fn chunk_blocks(&self) -> u64 {
        CHUNK_BYTES as u64 / u64::from(self.block_bytes)
    }

    /// Where a block is: its chunk, and the first byte in it.
    fn locate(&self, block: u64) -> (u64, usize) {
        let in_chunk = block % self.chunk_blocks() * u64::from(self.block_bytes);
        (block / self.chunk_blocks(), usize::try_from(in_chunk).unwrap_or(0))
    }

    fn zero_part(&mut self, start: u64, blocks: u64) {
        let (chunk, from) = self.locate(start);
        let bytes = usize::try_from(blocks * u64::from(self.block_bytes)).unwrap_or(CHUNK_BYTES);
        if bytes >= CHUNK_BYTES {
            self.chunks.remove(&chunk);
        } else if let Some(chunk) = self.chunks.get_mut(&chunk) {
            chunk[from..from + bytes].fill(0);
        }
    }
}

impl Media for MemoryMedia {
    fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&mut self, start: u64, into: &mut [u8]) -> Result<(), MediaError> {
        let (mut block, mut rest) = (start, into);
        while !rest.is_empty() {
            let (chunk, from) = self.locate(block);
            let (part, tail) = rest.split_at_mut(rest.len().min(CHUNK_BYTES - from));
            match self.chunks.get(&chunk) {
                Some(chunk) => part.copy_from_slice(&chunk[from..from + part.len()]),
                None => part.fill(0),
            }
            block += part.len() as u64 / u64::from(self.block_bytes);
            rest = tail;
        }
        Ok(())
    }

    fn write(&mut self, start: u64, from: &[u8], _: Durability) -> Result<(), MediaError> {
        let (mut block, mut rest) = (start, from);
        while !rest.is_empty() {
            let (chunk, at) = self.locate(block);
            let (part, tail) = rest.split_at(rest.len().min(CHUNK_BYTES - at));
            let chunk = self.chunks.entry(chunk).or_insert_with(|| vec![0; CHUNK_BYTES].into());
            chunk[at..at + part.len()].copy_from_slice(part);
            block += part.len() as u64 / u64::from(self.block_bytes);
            rest = tail;
        }
        Ok(())
    }

    fn deallocate(&mut self, start: u64, blocks: u64, _: Durability) -> Result<(), MediaError> {
        let (per_chunk, end) = (self.chunk_blocks(), start + blocks);
        let first_whole = start.div_ceil(per_chunk);
        let end_whole = end / per_chunk;
        if first_whole > end_whole {
            self.zero_part(start, blocks);
            return Ok(());
        }
        self.zero_part(start, first_whole * per_chunk - start);
        // Chunks that exist are fewer than chunks that a range of 2^64 blocks has.
        if end_whole - first_whole > self.chunks.len() as u64 {
            self.chunks.retain(|chunk, _| !(first_whole..end_whole).contains(chunk));
        } else {
            (first_whole..end_whole).for_each(|chunk| drop(self.chunks.remove(&chunk)));
        }
        self.zero_part(end_whole * per_chunk, end - end_whole * per_chunk);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), MediaError> {
        Ok(())
    }

    fn resize(&mut self, blocks: u64) -> Result<(), MediaError> {
        if blocks < self.blocks {
            self.deallocate(blocks, self.blocks - blocks, Durability::Durable)?;
        }
        self.blocks = blocks;
        Ok(())
    }

    fn store_note(&mut self, note: &[u8]) -> Result<(), MediaError> {
        self.note = note.to_vec();
        Ok(())
    }

    fn load_note(&self) -> Vec<u8> {
        self.note.clone()
    }

    fn allocated_blocks(&self) -> u64 {
        (self.chunks.len() as u64 * self.chunk_blocks()).min(self.blocks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_and_across_chunks() {
        let mut media = MemoryMedia::new(512, u64::MAX);
        let data: Vec<u8> = (0..1024u32).map(|byte| (byte % 251) as u8).collect();
        for start in [127, u64::MAX - 2] {
            media.write(start, &data, Durability::Cached).unwrap();
            let mut back = vec![0xFF; 1536];
            media.read(start - 1, &mut back).unwrap();
            assert_eq!((&back[..512], &back[512..]), (&[0; 512][..], &data[..]));
        }
        assert_eq!(media.allocated_blocks(), 3 * 128);
    }

    #[test]
    fn deallocated_blocks_read_as_zeroes_and_their_neighbours_stay() {
        for (start, blocks) in [(0, 1), (100, 28), (100, 200), (127, 2), (128, 128), (1, 510)] {
            let mut media = MemoryMedia::new(512, 1024);
            media.write(0, &vec![7; 512 * 512], Durability::Cached).unwrap();
            media.deallocate(start, blocks, Durability::Cached).unwrap();
            let mut back = vec![0; 512 * 512];
            media.read(0, &mut back).unwrap();
            for (block, bytes) in back.chunks(512).enumerate() {
                let expected = if (start..start + blocks).contains(&(block as u64)) { 0 } else { 7 };
                assert!(bytes.iter().all(|byte| *byte == expected), "{start}+{blocks}: {block}");
            }
        }
    }

    #[test]
    fn the_largest_range_is_deallocated_at_once() {
        let mut media = MemoryMedia::new(4096, u64::MAX);
        media.write(1 << 60, &[1; 4096], Durability::Cached).unwrap();
        media.deallocate(1, u64::MAX - 1, Durability::Cached).unwrap();
        assert_eq!(media.allocated_blocks(), 0);
    }

    #[test]
    fn blocks_beyond_a_shrunk_end_are_gone() {
        let mut media = MemoryMedia::new(512, 10);
        media.write(9, &[1; 512], Durability::Cached).unwrap();
        media.resize(5).unwrap();
        media.resize(10).unwrap();
        let mut back = [1; 512];
        media.read(9, &mut back).unwrap();
        assert_eq!(back, [0; 512]);
    }
}
