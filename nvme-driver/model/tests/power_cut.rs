//! What a host was told is durable survives every power cut; of the rest each block holds some version that was written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::cast_possible_truncation)]

mod host;

use host::{DATA, Host, block_io, sqe};
use nvme_model::{ControllerOptions, Media, MemoryMedia, NamespaceOptions, RecordingMedia};
use nvme_spec::Nsid;

const BLOCKS: u64 = 32;
const HOSTS: u32 = 10;
const NAMESPACES: u32 = 200;
const COMMANDS: u8 = 30;
/// FUA, bit 30 of dword 12.
const FUA: u32 = 1 << 30;

/// For each block the versions that a cut may leave: the durable one first, the newest last.
type Versions = Vec<Vec<u8>>;

struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

fn note(versions: &mut Versions, start: u64, blocks: u64, version: u8, durable: bool) {
    for block in &mut versions[start as usize..(start + blocks) as usize] {
        if durable {
            block.clear();
        }
        block.push(version);
    }
}

/// One random command that completes; what it promises is noted.
fn command(host: &mut Host, random: &mut Random, nsid: u32, version: u8, versions: &mut Versions) {
    let start = random.below(BLOCKS);
    let blocks = 1 + random.below((BLOCKS - start).min(8));
    let durable = random.below(4) == 0;
    let control = (blocks as u32 - 1) | if durable { FUA } else { 0 };
    match random.below(8) {
        0 => {
            let broadcast = random.below(2) == 0;
            assert_eq!(host.io(sqe(0, if broadcast { u32::MAX } else { nsid })).code, 0);
            versions.iter_mut().for_each(|block| *block = vec![*block.last().unwrap()]);
        }
        1 => {
            assert_eq!(host.io(block_io(8, start, 1, 0).dword(1, nsid).dword(12, control)).code, 0);
            note(versions, start, blocks, 0, durable);
        }
        _ => {
            host.write(DATA, &vec![version; 512 * blocks as usize]);
            let write = block_io(1, start, 1, host.iova + DATA).dword(1, nsid).dword(12, control);
            assert_eq!(host.io(write).code, 0);
            note(versions, start, blocks, version, durable);
        }
    }
}

fn read(image: &mut MemoryMedia) -> Vec<u8> {
    let mut data = vec![0; BLOCKS as usize * 512];
    image.read(0, &mut data).unwrap();
    let whole = |block: &&[u8]| block.iter().all(|byte| *byte == block[0]);
    assert!(data.chunks(512).all(|block| whole(&block)), "no block is torn");
    data.chunks(512).map(|block| block[0]).collect()
}

#[test]
fn what_is_durable_survives_every_cut() {
    let mut lost = 0;
    for group in 0..HOSTS {
        let mut host = Host::bare(ControllerOptions { namespaces_max: NAMESPACES, ..Default::default() });
        host.enable();
        host.create_pair(1, 64, None);
        for nsid in 1..=NAMESPACES {
            let seed = u64::from(group * NAMESPACES + nsid);
            let media = RecordingMedia::new(512, BLOCKS, 1);
            host.ssd.ssd().add_namespace(Nsid(nsid), NamespaceOptions::default(), media.clone()).unwrap();
            let (mut random, mut versions) = (Random(seed), vec![vec![0]; BLOCKS as usize]);
            for version in 1..=COMMANDS {
                command(&mut host, &mut random, nsid, version, &mut versions);
            }
            let left = read(&mut media.power_cut(seed));
            for (block, version) in left.iter().enumerate() {
                assert!(versions[block].contains(version), "seed {seed}, block {block}: {version}");
                lost += u32::from(*versions[block].last().unwrap() != *version);
            }
            let worst: Vec<u8> = versions.iter().map(|block| block[0]).collect();
            assert_eq!(read(&mut media.synced()), worst, "seed {seed}");
        }
    }
    assert!(lost > 1000, "cuts lose what was not flushed, or this test shows nothing: {lost}");
}
