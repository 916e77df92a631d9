//! Asymmetric Namespace Access, log page 0Ch (Base, Asymmetric Namespace Access Log Page).

use crate::bytes::{array_at, put, u32_at};
use crate::ids::Nsid;
use crate::structure::data_structure;

/// The most namespaces that this crate accepts in one group: as many as a controller with 64 Ki of them has.
/// A lying controller cannot make a host walk further.
pub const NSIDS_PER_GROUP_MAX: u32 = 65_536;

const GROUP_BYTES: usize = 32;

data_structure! {
    /// The header of the log page.
    AnaHeader, "Asymmetric Namespace Access header", 16 {
        /// Change Count: counts up with every change of the page.
        0 change_count: u64,
        /// Number of ANA Group Descriptors that follow.
        8 groups: u16,
    }
}

/// Asymmetric Namespace Access State.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum AnaState {
    /// ANA Optimized.
    Optimized = 0x1,
    /// ANA Non-Optimized.
    NonOptimized = 0x2,
    /// ANA Inaccessible.
    Inaccessible = 0x3,
    /// ANA Persistent Loss.
    PersistentLoss = 0x4,
    /// ANA Change.
    Change = 0xF,
}

impl AnaState {
    /// From the low four bits of the state byte; `None` is a reserved value.
    #[must_use]
    pub const fn from_raw(raw: u8) -> Option<Self> {
        match raw & 0xF {
            0x1 => Some(Self::Optimized),
            0x2 => Some(Self::NonOptimized),
            0x3 => Some(Self::Inaccessible),
            0x4 => Some(Self::PersistentLoss),
            0xF => Some(Self::Change),
            _ => None,
        }
    }
}

/// An ANA Group Descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnaGroup<'a> {
    /// ANA Group ID.
    pub anagrpid: u32,
    /// Change Count of this group; 0 is not reported.
    pub change_count: u64,
    /// The state of all namespaces of the group.
    pub state: AnaState,
    nsids: &'a [[u8; 4]],
}

impl<'a> AnaGroup<'a> {
    /// The namespaces, in increasing order; none when the host asked for groups only (RGO).
    pub fn nsids(self) -> impl Iterator<Item = Nsid> + 'a {
        self.nsids.iter().map(|&nsid| Nsid(u32::from_le_bytes(nsid)))
    }
}

/// A log page that cannot be read, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnaError {
    /// The data ends within a group.
    #[error("the ANA group at byte {at} ends after the data")]
    Truncated {
        /// Where the group starts, in bytes from the first group.
        at: usize,
    },
    /// A reserved state.
    #[error("ANA group {anagrpid} is in the undefined state {state:#x}")]
    State {
        /// ANA Group ID.
        anagrpid: u32,
        /// The state's value.
        state: u8,
    },
    /// A group of more than [`NSIDS_PER_GROUP_MAX`] namespaces.
    #[error("ANA group {anagrpid} has {count} namespaces")]
    TooManyNamespaces {
        /// ANA Group ID.
        anagrpid: u32,
        /// Number of NSID Values.
        count: u32,
    },
}

/// Walks the group descriptors after the header. It ends after the number of groups that the header says, or
/// after the first error.
#[derive(Clone, Debug)]
pub struct AnaGroups<'a> {
    bytes: &'a [u8],
    at: usize,
    remaining: u16,
}

impl<'a> AnaGroups<'a> {
    /// `groups` descriptors in `bytes`, which start after the header.
    #[must_use]
    pub const fn new(groups: u16, bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, remaining: groups }
    }

    fn read_group(&mut self) -> Result<AnaGroup<'a>, AnaError> {
        let truncated = AnaError::Truncated { at: self.at };
        let rest = self.bytes.get(self.at..).ok_or(truncated)?;
        let (fixed, after) = rest.split_first_chunk::<GROUP_BYTES>().ok_or(truncated)?;
        let (anagrpid, count) = (u32_at(fixed, 0), u32_at(fixed, 4));
        if count > NSIDS_PER_GROUP_MAX {
            return Err(AnaError::TooManyNamespaces { anagrpid, count });
        }
        let state =
            AnaState::from_raw(fixed[16]).ok_or(AnaError::State { anagrpid, state: fixed[16] & 0xF })?;
        let nsids = after.get(..count as usize * 4).ok_or(truncated)?;
        self.at += GROUP_BYTES + nsids.len();
        let change_count = u64::from_le_bytes(array_at(fixed, 8));
        Ok(AnaGroup { anagrpid, change_count, state, nsids: nsids.as_chunks().0 })
    }
}

impl<'a> Iterator for AnaGroups<'a> {
    type Item = Result<AnaGroup<'a>, AnaError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.remaining = self.remaining.checked_sub(1)?;
        let group = self.read_group();
        if group.is_err() {
            self.remaining = 0;
        }
        Some(group)
    }
}

/// Writes group descriptors one after the other.
#[derive(Debug)]
pub struct AnaWriter<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl<'a> AnaWriter<'a> {
    /// Writes to `bytes`, which start after the header.
    pub const fn new(bytes: &'a mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Adds a group.
    ///
    /// # Errors [`AnaError::Truncated`] when there is no room for it, [`AnaError::TooManyNamespaces`] when it
    /// is too large; nothing is written then.
    pub fn push(
        &mut self,
        anagrpid: u32,
        change_count: u64,
        state: AnaState,
        nsids: &[Nsid],
    ) -> Result<(), AnaError> {
        let count = u32::try_from(nsids.len()).unwrap_or(u32::MAX);
        if count > NSIDS_PER_GROUP_MAX {
            return Err(AnaError::TooManyNamespaces { anagrpid, count });
        }
        let size = GROUP_BYTES + nsids.len() * 4;
        let out = self.bytes.get_mut(self.at..self.at + size).ok_or(AnaError::Truncated { at: self.at })?;
        out.fill(0);
        put(out, 0, anagrpid.to_le_bytes());
        put(out, 4, count.to_le_bytes());
        put(out, 8, change_count.to_le_bytes());
        out[16] = state as u8;
        for (slot, nsid) in out[GROUP_BYTES..].as_chunks_mut().0.iter_mut().zip(nsids) {
            *slot = nsid.0.to_le_bytes();
        }
        self.at += size;
        Ok(())
    }

    /// How many bytes were written.
    #[must_use]
    pub const fn written(&self) -> usize {
        self.at
    }
}
