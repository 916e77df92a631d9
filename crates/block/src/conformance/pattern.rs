//! What blocks hold: each its own number and version, so that a stale, torn or misplaced block is seen.

/// A generator of numbers (SplitMix64): small, and good enough to choose what to do next.
#[derive(Clone, Debug)]
pub(super) struct Dice(u64);

impl Dice {
    /// By `REMORA_SEED` if it is set, and said in any case.
    pub(super) fn new(seed: u64) -> Self {
        let seed = std::env::var("REMORA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
        println!("REMORA_SEED={seed}");
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// The content of a block in a version; version 0 is zeroes.
pub(super) fn block(number: u64, version: u64, bytes: usize) -> Vec<u8> {
    if version == 0 {
        return vec![0; bytes];
    }
    // Each word differs from the one before, so that bytes in the wrong place are seen as well.
    let mut word = mix(number.wrapping_mul(31) ^ (version << 40));
    let mut content = vec![0; bytes];
    for place in content.chunks_exact_mut(8) {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        place.copy_from_slice(&word.to_le_bytes());
    }
    content
}

/// The content of several blocks in a row in one version.
pub(super) fn blocks(start: u64, count: u64, version: u64, block_bytes: usize) -> Vec<u8> {
    (start..start + count).flat_map(|number| block(number, version, block_bytes)).collect()
}
