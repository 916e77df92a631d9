//! What is checked of work before it is posted: that its memory is known to the device, as real devices need it.

use std::collections::VecDeque;

use dma::RegionId;

use super::LIMITS;
use super::shared::Attached;
use crate::{Data, PostError, Receive, SendWork};

pub(super) fn check_work(work: &SendWork, attached: &Attached) -> Result<(), PostError> {
    let Data::Memory(list) = &work.data else { return Ok(()) };
    if list.segments().len() > LIMITS.segments_max as usize {
        return Err(PostError::Unfit("more segments than the device can gather"));
    }
    if list.bytes() > u64::from(LIMITS.message_bytes_max) {
        return Err(PostError::Unfit("more bytes than the device can send at once"));
    }
    list.segments().iter().try_for_each(|segment| check_region(segment.region(), attached))
}

pub(super) fn check_receive(receive: &Receive, attached: &Attached) -> Result<(), PostError> {
    check_region(receive.buffer.region(), attached)
}

fn check_region(region: RegionId, attached: &Attached) -> Result<(), PostError> {
    let unfit = PostError::Unfit("memory that is not attached to the device");
    if attached.knows(region) { Ok(()) } else { Err(unfit) }
}

/// Posts from the front up to the first piece that is unfit; when that one is at the front, says why.
pub(super) fn post_fit<T>(
    pieces: &mut VecDeque<T>,
    check: impl Fn(&T) -> Result<(), PostError>,
    post: impl FnOnce(&mut VecDeque<T>) -> Result<(), PostError>,
) -> Result<(), PostError> {
    let unfit = pieces.iter().enumerate().find_map(|(index, piece)| Some((index, check(piece).err()?)));
    match unfit {
        None => post(pieces),
        Some((0, error)) => Err(error),
        Some((first, _)) => {
            let mut rest = pieces.split_off(first);
            let posted = post(pieces);
            pieces.append(&mut rest);
            posted
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dma::{MemoryOptions, Pool, PoolOptions, ScatterList};

    use super::*;
    use crate::SendOp;

    const CHUNK_BYTES: u32 = 4 << 20;

    fn work(pool: &Pool, segments: usize, cut: u32) -> SendWork {
        let segment = pool.take().unwrap().into_segment();
        let mut list = ScatterList::default();
        (1..segments).for_each(|_| list.push(segment.clone()));
        list.push(segment.slice(0, CHUNK_BYTES - cut).unwrap());
        SendWork { id: 1, op: SendOp::Send, data: Data::Memory(list), signaled: true, fenced: false }
    }

    #[test]
    fn work_within_the_devices_limits_is_fit() {
        let memory = MemoryOptions { ordinary_pages: true, ..MemoryOptions::default() };
        let pool = Pool::new(PoolOptions { chunk_bytes: CHUNK_BYTES, chunks: 1, memory }).unwrap();
        let attached = Arc::new(Attached::default());
        let check = |segments, cut| check_work(&work(&pool, segments, cut), &attached);
        assert!(check(1, 0).is_err(), "memory that is not attached");
        attached.attach(pool.region(), "soft").unwrap();
        assert_eq!(check(256, 0), Ok(()), "1 GiB");
        assert!(check(257, CHUNK_BYTES - 1).is_err(), "1 GiB and a byte");
        assert_eq!(check(1, CHUNK_BYTES), Ok(()));
        let mut small = work(&pool, 1, CHUNK_BYTES - 4);
        let Data::Memory(list) = &mut small.data else { unreachable!() };
        let segment = list.segments()[0].clone();
        (1..1024).for_each(|_| list.push(segment.clone()));
        assert_eq!(check_work(&small, &attached), Ok(()), "1024 segments");
        let Data::Memory(list) = &mut small.data else { unreachable!() };
        list.push(segment);
        assert!(check_work(&small, &attached).is_err(), "1025 segments");
    }

    #[test]
    fn what_is_before_an_unfit_piece_is_posted_and_the_rest_stays() {
        let check = |piece: &u32| if *piece == 9 { Err(PostError::Unfit("nine")) } else { Ok(()) };
        let mut posted = Vec::new();
        let mut pieces = VecDeque::from([1, 2, 9, 3]);
        let mut post = |pieces: &mut VecDeque<u32>| {
            posted.extend(pieces.drain(..1));
            Ok(())
        };
        assert_eq!(post_fit(&mut pieces, check, &mut post), Ok(()));
        assert_eq!(pieces, [2, 9, 3], "there was room for one");
        assert_eq!(post_fit(&mut pieces, check, &mut post), Ok(()));
        assert_eq!(post_fit(&mut pieces, check, &mut post), Err(PostError::Unfit("nine")));
        assert_eq!((pieces.make_contiguous(), posted.as_slice()), ([9, 3].as_mut_slice(), [1, 2].as_slice()));
    }
}
