//! The memory of one request: segments in order.

use smallvec::SmallVec;

use crate::memory::AccessError;
use crate::segment::Segment;

/// Segments in the order of the data. One segment costs no allocation.
#[derive(Clone, Debug, Default)]
pub struct ScatterList {
    segments: SmallVec<[Segment; 1]>,
}

impl ScatterList {
    /// The segments in order.
    #[inline]
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Adds a segment at the end.
    pub fn push(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    /// Bytes of all segments.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match &self.segments[..] {
            [segment] => u64::from(segment.bytes()),
            segments => segments.iter().map(|segment| u64::from(segment.bytes())).sum(),
        }
    }

    /// The segments, given back.
    pub fn into_segments(self) -> impl Iterator<Item = Segment> {
        self.segments.into_iter()
    }

    /// The only segment; the list is handed back if it has none or several.
    pub fn into_single(mut self) -> Result<Segment, Self> {
        match self.segments.pop() {
            Some(segment) if self.segments.is_empty() => Ok(segment),
            Some(segment) => {
                self.segments.push(segment);
                Err(self)
            }
            None => Err(self),
        }
    }

    /// A view of `bytes` bytes from `offset`; `None` if they are not all inside.
    #[must_use]
    pub fn slice(&self, offset: u64, bytes: u64) -> Option<Self> {
        if offset.checked_add(bytes)? > self.bytes() {
            return None;
        }
        let mut part = Self::default();
        self.each_part(offset, bytes, |segment, start, length| {
            part.segments.extend(segment.slice(start, length));
            Ok(())
        })
        .ok()?;
        Some(part)
    }

    /// Copies bytes out.
    pub fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), AccessError> {
        let mut rest = into;
        self.each_part(offset, rest.len() as u64, |segment, start, length| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(length as usize);
            rest = later;
            segment.read(start, now)
        })
    }

    /// Copies bytes in, for a device that answers a read.
    pub fn device_write(&self, offset: u64, from: &[u8]) -> Result<(), AccessError> {
        let mut rest = from;
        self.each_part(offset, rest.len() as u64, |segment, start, length| {
            let (now, later) = rest.split_at(length as usize);
            rest = later;
            segment.device_write(start, now)
        })
    }

    /// Sets bytes, for a device that answers a read.
    pub fn device_fill(&self, offset: u64, bytes: u64, value: u8) -> Result<(), AccessError> {
        self.each_part(offset, bytes, |segment, start, length| segment.device_fill(start, length, value))
    }

    /// Calls `act` for each segment that the range touches, with the part's start in it and its length.
    fn each_part(
        &self,
        offset: u64,
        bytes: u64,
        mut act: impl FnMut(&Segment, u32, u32) -> Result<(), AccessError>,
    ) -> Result<(), AccessError> {
        let outside = AccessError::OutOfBounds {
            offset,
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            memory_bytes: usize::try_from(self.bytes()).unwrap_or(usize::MAX),
        };
        if offset.checked_add(bytes).is_none_or(|end| end > self.bytes()) {
            return Err(outside);
        }
        let (mut skip, mut left) = (offset, bytes);
        for segment in &self.segments {
            let length = u64::from(segment.bytes());
            let start = skip.min(length);
            let part = left.min(length - start);
            skip -= start;
            left -= part;
            if part > 0 {
                // Both are at most the segment's own 32-bit length.
                let narrow = |value| u32::try_from(value).map_err(|_| outside);
                act(segment, narrow(start)?, narrow(part)?)?;
            }
        }
        Ok(())
    }
}

impl From<Segment> for ScatterList {
    #[inline]
    fn from(segment: Segment) -> Self {
        let mut segments = SmallVec::new();
        segments.push(segment);
        Self { segments }
    }
}

impl FromIterator<Segment> for ScatterList {
    fn from_iter<I: IntoIterator<Item = Segment>>(segments: I) -> Self {
        Self { segments: segments.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryOptions, Pool, PoolOptions};
    use proptest::prelude::*;

    fn list(lengths: &[u32]) -> ScatterList {
        let memory = MemoryOptions { ordinary_pages: true, ..Default::default() };
        let chunks = u32::try_from(lengths.len()).unwrap().max(1);
        let pool = Pool::new(PoolOptions { chunk_bytes: 64, chunks, memory }).unwrap();
        lengths.iter().map(|length| pool.take().unwrap().into_segment().slice(3, *length).unwrap()).collect()
    }

    #[test]
    fn bytes_cross_segments() {
        let list = list(&[2, 0, 3]);
        list.device_write(1, b"abc").unwrap();
        let mut bytes = [9; 5];
        list.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0abc\0");
        assert!(list.device_write(3, b"abc").is_err());
        assert!(list.read(u64::MAX, &mut [0; 2]).is_err());
    }

    #[test]
    fn the_only_segment_comes_out_alone() {
        assert!(list(&[1]).into_single().is_ok());
        assert_eq!(list(&[1, 2]).into_single().unwrap_err().bytes(), 3);
        assert_eq!(ScatterList::default().into_single().unwrap_err().bytes(), 0);
    }

    proptest! {
        #[test]
        fn a_slice_is_the_same_bytes(lengths in proptest::collection::vec(0u32..9, 0..6), offset in 0u64..50, bytes in 0u64..50) {
            let list = list(&lengths);
            let data: Vec<u8> = (0u8..).take(usize::try_from(list.bytes()).unwrap()).collect();
            list.device_write(0, &data).unwrap();
            match list.slice(offset, bytes) {
                None => prop_assert!(offset + bytes > list.bytes()),
                Some(part) => {
                    let mut found = vec![0; usize::try_from(bytes).unwrap()];
                    part.read(0, &mut found).unwrap();
                    let start = usize::try_from(offset).unwrap();
                    prop_assert_eq!(&found[..], &data[start..start + found.len()]);
                }
            }
        }
    }
}
