use super::*;

const BLOCKS: u64 = 24;

/// For each block, the versions that a cut may leave: the last durable one and every cached one since.
struct Oracle(Vec<Vec<u8>>);

impl Oracle {
    fn write(&mut self, start: u64, blocks: u64, version: u8, durable: bool) {
        for block in start..start + blocks {
            let versions = &mut self.0[block as usize];
            if durable {
                versions.clear();
            }
            versions.push(version);
        }
    }

    fn sync(&mut self) {
        self.0.iter_mut().for_each(|versions| *versions = vec![*versions.last().unwrap()]);
    }
}

fn versions(image: &mut MemoryMedia) -> Vec<u8> {
    let mut data = vec![0; BLOCKS as usize * 512];
    image.read(0, &mut data).unwrap();
    let whole = |block: &[u8]| block.iter().all(|byte| *byte == block[0]);
    data.chunks(512).inspect(|block| assert!(whole(block), "a block is never torn")).map(|b| b[0]).collect()
}

/// Does a seeded run; gives back the medium, the oracle, and the last version of everything.
fn run(seed: u64) -> (RecordingMedia, Oracle, Vec<u8>) {
    let mut random = SplitMix64(seed);
    let mut media = RecordingMedia::new(512, BLOCKS, 1);
    let (mut oracle, mut last) = (Oracle(vec![vec![0]; BLOCKS as usize]), vec![0; BLOCKS as usize]);
    for version in 1..=40u8 {
        let start = random.next() % BLOCKS;
        let blocks = 1 + random.next() % (BLOCKS - start);
        let durable = random.next().is_multiple_of(5);
        let durability = if durable { Durability::Durable } else { Durability::Cached };
        let (value, dealloc) = if random.next().is_multiple_of(6) { (0, true) } else { (version, false) };
        if dealloc {
            media.deallocate(start, blocks, durability).unwrap();
        } else {
            media.write(start, &vec![value; blocks as usize * 512], durability).unwrap();
        }
        oracle.write(start, blocks, value, durable);
        last[start as usize..(start + blocks) as usize].fill(value);
        if random.next().is_multiple_of(8) {
            media.sync().unwrap();
            oracle.sync();
        }
    }
    (media, oracle, last)
}

#[test]
fn a_cut_leaves_every_synced_write_and_nothing_impossible() {
    let (mut lost, mut kept, mut mixed) = (0, 0, 0);
    for seed in 0..3000 {
        let (media, oracle, last) = run(seed);
        let left = versions(&mut media.power_cut(seed ^ 0xFEED));
        for (block, version) in left.iter().enumerate() {
            assert!(oracle.0[block].contains(version), "seed {seed}, block {block}: {version}");
        }
        let unsure: Vec<usize> = (0..BLOCKS as usize).filter(|block| oracle.0[*block].len() > 1).collect();
        let survivors = unsure.iter().filter(|block| left[**block] == last[**block]).count();
        lost += usize::from(survivors == 0 && !unsure.is_empty());
        kept += usize::from(survivors == unsure.len() && !unsure.is_empty());
        mixed += usize::from(survivors > 0 && survivors < unsure.len());
    }
    // The cuts are of all kinds, or the test shows nothing.
    assert!(lost > 50 && kept > 50 && mixed > 50, "{lost} {kept} {mixed}");
}

#[test]
fn the_worst_cut_leaves_what_was_synced_and_the_same_seed_the_same() {
    let (media, oracle, _) = run(5);
    for (block, version) in versions(&mut media.synced()).iter().enumerate() {
        assert_eq!(*version, oracle.0[block][0], "block {block}");
    }
    assert_eq!(versions(&mut media.power_cut(9)), versions(&mut media.power_cut(9)));
}

#[test]
fn what_the_drive_promises_is_not_torn() {
    let mut torn = [0; 2];
    for seed in 0..500 {
        let mut media = RecordingMedia::new(512, BLOCKS, 4);
        media.write(0, &[1; 4 * 512], Durability::Cached).unwrap();
        media.write(8, &[1; 5 * 512], Durability::Cached).unwrap();
        let left = versions(&mut media.power_cut(seed));
        for (index, part) in [&left[..4], &left[8..13]].into_iter().enumerate() {
            torn[index] += usize::from(part.contains(&0) && part.contains(&1));
        }
    }
    assert!(torn[0] == 0 && torn[1] > 100, "{torn:?}");
}

#[test]
fn a_cache_is_bounded() {
    let mut media = RecordingMedia::new(512, BLOCKS, 1);
    for turn in 0..3 * PENDING_MAX as u64 {
        media.write(turn % BLOCKS, &[1; 512], Durability::Cached).unwrap();
    }
    assert!(media.unsynced() <= PENDING_MAX);
    media.sync().unwrap();
    assert_eq!((media.unsynced(), media.syncs()), (0, 1));
}
