//! What messages hold, and what is chosen by chance.

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

/// Bytes that differ from those of every other number, and from themselves when shifted.
pub(super) fn bytes(number: u64, length: usize) -> Vec<u8> {
    let mut word = mix(number ^ 0x5851_f42d_4c95_7f2d);
    let mut content = Vec::with_capacity(length + 8);
    while content.len() < length {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        content.extend_from_slice(&mix(word).to_le_bytes());
    }
    content.truncate(length);
    content
}

/// Says where two byte strings differ, instead of printing them.
#[track_caller]
pub(super) fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}: the length");
    if let Some(at) = found.iter().zip(wanted).position(|(a, b)| a != b) {
        panic!("{what}: byte {at} of {} is {:#04x}, not {:#04x}", found.len(), found[at], wanted[at]);
    }
}
