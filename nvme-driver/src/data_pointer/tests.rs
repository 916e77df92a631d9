//! Memory against the PRPs (Base 4.3.1) and SGLs (Base 4.3.2) of its command.

use super::*;
use dma::{MemoryOptions, Pool, PoolOptions};
use nvme_spec::{CommandId, Nsid};

struct Fixture {
    addresses: AddressTable,
    pages: CommandPages,
    lists: Pool,
    data: Pool,
}

const LISTS: u64 = 0x10_0000;
const DATA: u64 = 0x20_0000;

fn pool(chunk_bytes: u32, chunks: u32) -> Pool {
    let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
    Pool::new(PoolOptions { chunk_bytes, chunks, memory }).unwrap()
}

fn fixture() -> Fixture {
    let (lists, data) = (pool(2 * 4096, 1), pool(3 << 20, 1));
    let addresses = AddressTable::default();
    addresses.set(lists.region().id(), LISTS);
    addresses.set(data.region().id(), DATA);
    Fixture {
        addresses,
        pages: CommandPages::new(lists.take().unwrap().into_segment()).unwrap(),
        lists,
        data,
    }
}

impl Fixture {
    fn segments(&self, parts: &[(u32, u32)]) -> ScatterList {
        let whole = self.data.take().unwrap().into_segment();
        parts.iter().map(|(offset, bytes)| whole.slice(*offset, *bytes).unwrap()).collect()
    }

    fn point(&self, parts: &[(u32, u32)], sgls: bool) -> Result<Sqe, InvalidRequest> {
        self.point_list(&self.segments(parts), sgls)
    }

    fn point_list(&self, data: &ScatterList, sgls: bool) -> Result<Sqe, InvalidRequest> {
        let mut sqe = Sqe::new(2, CommandId(0), Nsid(1));
        self.pages.point(&mut sqe, 1, data, &self.addresses, sgls).map(|()| sqe)
    }

    fn list(&self, entries: usize) -> Vec<u64> {
        let mut bytes = vec![0; entries * 8];
        self.lists.region().memory().read(4096, &mut bytes).unwrap();
        bytes.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

#[test]
fn one_segment_takes_one_two_or_a_list_of_entries() {
    let fixture = fixture();
    let prps = |parts: &[(u32, u32)]| fixture.point(parts, false).map(|sqe| (sqe.prp1(), sqe.prp2()));
    assert_eq!(prps(&[(0, 4096)]), Ok((DATA, 0)));
    assert_eq!(prps(&[(512, 4096)]), Ok((DATA + 512, DATA + 4096)));
    assert_eq!(prps(&[(4, 8192)]), Ok((DATA + 4, LISTS + 4096)));
    assert_eq!(fixture.list(2), [DATA + 4096, DATA + 8192]);
    assert_eq!(prps(&[(4, TRANSFER_BYTES_MAX)]), Ok((DATA + 4, LISTS + 4096)));
    assert_eq!(prps(&[(4, TRANSFER_BYTES_MAX + 4096)]), Err(InvalidRequest::TooLarge));
    assert_eq!(prps(&[(2, 512)]), Err(InvalidRequest::Segments));
}

#[test]
fn segments_that_meet_at_pages_are_prps() {
    let fixture = fixture();
    let sqe = fixture.point(&[(3584, 512), (8192, 4096)], true).unwrap();
    assert_eq!((sqe.prp1(), sqe.prp2()), (DATA + 3584, DATA + 8192));
    let sqe = fixture.point(&[(0, 8192), (16384, 512)], true).unwrap();
    assert_eq!((sqe.prp1(), sqe.prp2()), (DATA, LISTS + 4096));
    assert_eq!(fixture.list(2), [DATA + 4096, DATA + 16384]);
}

#[test]
fn other_segments_are_an_sgl_or_an_error() {
    let fixture = fixture();
    let parts = [(0, 512), (1024, 512)];
    assert_eq!(fixture.point(&parts, false), Err(InvalidRequest::Segments));
    let sqe = fixture.point(&parts, true).unwrap();
    // Base Figure 118: address, length 32, type 3h (last segment) subtype 0h in the upper and lower half of byte 15.
    let mut expected = [0; 16];
    expected[..8].copy_from_slice(&(LISTS + 4096).to_le_bytes());
    expected[8] = 32;
    expected[15] = 0x30;
    assert_eq!(sqe.to_bytes()[24..40], expected);
    assert_eq!(sqe.to_bytes()[1], 0x40, "PSDT 01b");
    assert_eq!(fixture.list(4), [DATA, 512, DATA + 1024, 512]);
}

#[test]
fn memory_that_is_not_attached_is_refused() {
    let fixture = fixture();
    let stranger = pool(4096, 1).take().unwrap().into_segment();
    let mut sqe = Sqe::new(2, CommandId(0), Nsid(1));
    let answer = fixture.pages.point(&mut sqe, 0, &stranger.into(), &fixture.addresses, true);
    assert_eq!(answer, Err(InvalidRequest::NotAttached));
}

#[test]
fn a_list_ends_with_its_page() {
    let fixture = fixture();
    // One page by PRP1, 512 by the list, which is full then.
    let sqe = fixture.point(&[(4096, 4096), (8192 + 4096, 512 * 4096)], false).unwrap();
    assert_eq!((sqe.prp1(), sqe.prp2()), (DATA + 4096, LISTS + 4096));
    let pages: Vec<u64> = (3..515).map(|page| DATA + page * 4096).collect();
    assert_eq!(fixture.list(512), pages);
    for sgls in [false, true] {
        let longer = [(4096, 4096), (8192 + 4096, 512 * 4096 + 4)];
        assert_eq!(fixture.point(&longer, sgls), Err(InvalidRequest::TooLarge));
    }
}

#[test]
fn an_sgl_ends_with_its_page() {
    let fixture = fixture();
    let parts = |count: u32| (0..count).map(|part| (part * 1024, 512)).collect::<Vec<_>>();
    let sqe = fixture.point(&parts(256), true).unwrap();
    // The last segment descriptor: 256 descriptors of 16 bytes are a page.
    assert_eq!(sqe.to_bytes()[32..40], [0, 0x10, 0, 0, 0, 0, 0, 0x30]);
    assert_eq!(fixture.list(512)[510..], [DATA + 255 * 1024, 512]);
    assert_eq!(fixture.point(&parts(257), true), Err(InvalidRequest::Segments));
    let mut with_an_empty_one = parts(256);
    with_an_empty_one.push((300 * 1024, 0));
    assert!(fixture.point(&with_an_empty_one, true).is_ok());
}

#[test]
fn empty_segments_take_no_entry() {
    let fixture = fixture();
    let untouched = Sqe::new(2, CommandId(0), Nsid(1));
    for parts in [&[][..], &[(0, 0)], &[(512, 0)], &[(0, 0), (4096, 0)]] {
        assert_eq!(fixture.point(parts, true), Ok(untouched), "{parts:?}");
    }
    let sqe = fixture.point(&[(0, 0), (4096, 4096), (8192, 0), (16384, 512)], false).unwrap();
    assert_eq!((sqe.prp1(), sqe.prp2()), (DATA + 4096, DATA + 16384));
    let sqe = fixture.point(&[(0, 512), (700, 0), (1024, 512)], true).unwrap();
    assert_eq!(sqe.to_bytes()[32..36], [32, 0, 0, 0], "two descriptors");
    assert_eq!(fixture.list(4), [DATA, 512, DATA + 1024, 512]);
}

#[test]
fn seams_elsewhere_need_an_sgl() {
    let fixture = fixture();
    for parts in [[(0, 512), (4096, 512)], [(0, 4096), (4608, 512)], [(512, 4096), (8192, 512)]] {
        assert_eq!(fixture.point(&parts, false), Err(InvalidRequest::Segments), "{parts:?}");
        assert_eq!(fixture.point(&parts, true).unwrap().to_bytes()[1], 0x40, "{parts:?}");
    }
    // Not the first seam alone.
    let parts = [(0, 4096), (8192, 4096), (16896, 512)];
    assert_eq!(fixture.point(&parts, false), Err(InvalidRequest::Segments));
}

#[test]
fn every_segment_begins_at_a_dword() {
    let fixture = fixture();
    for parts in [[(0, 512), (1026, 512)], [(1, 512), (1024, 512)], [(2, 4094), (4096, 512)]] {
        assert_eq!(fixture.point(&parts, true), Err(InvalidRequest::Segments), "{parts:?}");
    }
    assert!(fixture.point(&[(4, 512), (1028, 512)], true).is_ok());
}

#[test]
fn every_segment_must_be_attached() {
    let fixture = fixture();
    for (bytes, offset) in [(4096, 0), (512, 512)] {
        let mut data = fixture.segments(&[(0, bytes)]);
        let stranger = pool(4096, 1).take().unwrap().into_segment();
        data.push(stranger.slice(offset, 512).unwrap());
        assert_eq!(fixture.point_list(&data, true), Err(InvalidRequest::NotAttached));
    }
}

#[test]
fn lists_that_are_not_attached_point_nowhere() {
    let mut fixture = fixture();
    fixture.addresses = AddressTable::default();
    fixture.addresses.set(fixture.data.region().id(), DATA);
    for parts in [&[(0, 3 * 4096)][..], &[(0, 4096), (8192, 8192)], &[(0, 512), (1024, 512)]] {
        assert_eq!(fixture.point(parts, true), Err(InvalidRequest::NotAttached), "{parts:?}");
    }
    let mut sqe = Sqe::new(9, CommandId(0), Nsid(1));
    let answer = fixture.pages.point_to_bytes(&mut sqe, 0, &fixture.addresses, [0; 16]);
    assert_eq!(answer, Err(InvalidRequest::NotAttached));
    assert!(fixture.point(&[(0, 4096)], true).is_ok(), "which needs no list");
}

#[test]
fn sixteen_bytes_lie_in_the_command_s_own_page() {
    let fixture = fixture();
    let bytes = *b"0123456789abcdef";
    for (slot, iova) in [(0, LISTS), (1, LISTS + 4096)] {
        let mut sqe = Sqe::new(9, CommandId(0), Nsid(1));
        fixture.pages.point_to_bytes(&mut sqe, slot, &fixture.addresses, bytes).unwrap();
        assert_eq!((sqe.prp1(), sqe.prp2()), (iova, 0));
        let mut there = [0; 16];
        fixture.lists.region().memory().read(iova - LISTS, &mut there).unwrap();
        assert_eq!(there, bytes);
    }
}

#[test]
fn a_full_list_stays_out_of_the_next_page() {
    let fixture = fixture();
    let mut sqe = Sqe::new(2, CommandId(0), Nsid(1));
    let data = fixture.segments(&[(4, TRANSFER_BYTES_MAX)]);
    fixture.pages.point(&mut sqe, 0, &data, &fixture.addresses, false).unwrap();
    assert_eq!((sqe.prp1(), sqe.prp2()), (DATA + 4, LISTS));
    assert_eq!(fixture.list(512), [0; 512], "of slot 1");
}

#[test]
fn an_empty_segment_need_not_be_attached() {
    let fixture = fixture();
    let empty = pool(4096, 1).take().unwrap().into_segment().slice(0, 0).unwrap();
    for (parts, psdt) in [([(0, 4096), (8192, 512)], 0), ([(0, 512), (1024, 512)], 0x40)] {
        let mut data: ScatterList = empty.clone().into();
        fixture.segments(&parts).into_segments().for_each(|segment| data.push(segment));
        assert_eq!(fixture.point_list(&data, true).unwrap().to_bytes()[1], psdt);
    }
}

#[test]
fn lists_lie_anywhere_in_their_region() {
    let mut fixture = fixture();
    let lists = pool(2 * 4096, 2);
    let chunks: Vec<_> = (0..2).map(|_| lists.take().unwrap().into_segment()).collect();
    let second = chunks.into_iter().find(|chunk| chunk.region_offset() == 8192).unwrap();
    fixture.addresses.set(lists.region().id(), LISTS);
    fixture.pages = CommandPages::new(second).unwrap();
    let sqe = fixture.point(&[(0, 3 * 4096)], true).unwrap();
    assert_eq!(sqe.prp2(), LISTS + 8192 + 4096);
    let mut entry = [0; 8];
    lists.region().memory().read(8192 + 4096, &mut entry).unwrap();
    assert_eq!(u64::from_le_bytes(entry), DATA + 4096);
}

/// SGLS may ask for lengths of whole dwords (10b); once, others were sent all the same.
#[test]
fn every_segment_of_an_sgl_is_whole_dwords() {
    let fixture = fixture();
    assert_eq!(fixture.point(&[(0, 510), (1024, 514)], true), Err(InvalidRequest::Segments));
    let empty = fixture.point(&[(0, 0), (512, 0)], true).unwrap();
    assert_eq!(empty.to_bytes()[24..40], [0; 16], "no list of nothing");
}
