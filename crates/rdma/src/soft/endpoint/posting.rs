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
