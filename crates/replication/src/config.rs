//! What a mirror is told: its members, sizes, policy, and patience.

use std::time::Duration;

use thiserror::Error;
use uuid::Uuid;

use crate::ids::{HOLDERS_MAX, HolderId, HolderSet};
use crate::wire::map_unit::UNIT_REGIONS;

/// Most legs: the map has room for three.
pub const LEGS_MAX: usize = 3;

/// Most regions of a mirror; larger devices have larger regions.
pub const REGIONS_MAX: u64 = 1 << 20;

/// Who must have a new generation before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Every survivor; attaching needs every member of the newest set seen.
    AllMembers,
    /// Every survivor, and a majority of label holders; attaching needs a majority.
    Majority,
}

impl Policy {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::AllMembers => 1,
            Self::Majority => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::AllMembers),
            2 => Some(Self::Majority),
            _ => None,
        }
    }
}

/// What a holder of a label is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It has the data.
    Leg,
    /// It has a label only.
    Witness,
}

impl Role {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Leg => 1,
            Self::Witness => 2,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Leg),
            2 => Some(Self::Witness),
            _ => None,
        }
    }
}

/// A holder of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its own UUID.
    pub uuid: Uuid,
    /// What it is for.
    pub role: Role,
}

/// Sizes of a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// Blocks of a region of the map.
    pub region_blocks: u32,
}

/// Why a mirror cannot be as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Sizes that do not go together.
    #[error("a mirror of {blocks} blocks in regions of {region_blocks} blocks is not possible")]
    Shape {
        /// Blocks.
        blocks: u64,
        /// Blocks of a region.
        region_blocks: u32,
    },
    /// Too few or too many legs.
    #[error("a mirror has 2 or 3 legs and at most one witness, not {legs} and {witnesses}")]
    Members {
        /// Legs.
        legs: usize,
        /// Witnesses.
        witnesses: usize,
    },
    /// A majority of two is both.
    #[error("the policy majority needs three holders of labels: three legs, or two legs and a witness")]
    Majority,
}

impl Shape {
    /// Whether such a mirror is possible.
    ///
    /// # Errors
    /// If it has no block, no region, or more than [`REGIONS_MAX`] regions.
    pub fn check(&self) -> Result<(), ConfigError> {
        let is_good = self.blocks > 0
            && self.region_blocks > 0
            && self.blocks.div_ceil(u64::from(self.region_blocks)) <= REGIONS_MAX;
        let wrong = ConfigError::Shape { blocks: self.blocks, region_blocks: self.region_blocks };
        if is_good { Ok(()) } else { Err(wrong) }
    }

    /// Regions, the last of which may be shorter.
    #[must_use]
    pub fn regions(&self) -> u32 {
        let regions = self.blocks.div_ceil(u64::from(self.region_blocks.max(1)));
        u32::try_from(regions).unwrap_or(u32::MAX)
    }

    /// Units of the map.
    #[must_use]
    pub fn units(&self) -> u32 {
        self.regions().div_ceil(unit_regions())
    }
}

/// Regions of a unit of the map.
pub(crate) fn unit_regions() -> u32 {
    u32::try_from(UNIT_REGIONS).unwrap_or(u32::MAX)
}

/// What a mirror is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The mirror's UUID.
    pub mirror: Uuid,
    /// Its holders.
    pub members: Vec<Member>,
    /// Who decides.
    pub policy: Policy,
    /// Sizes.
    pub shape: Shape,
    /// Where the mirror's blocks begin on each leg, in bytes.
    pub data_offset_bytes: u64,
    /// Where the map begins on each leg, in bytes.
    pub map_offset_bytes: u64,
}

impl Description {
    /// Whether such a mirror is possible.
    ///
    /// # Errors
    /// In words, if not.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.shape.check()?;
        let legs = self.legs().len();
        let witnesses = self.members.len() - legs;
        let is_possible = (1..=LEGS_MAX).contains(&legs)
            && witnesses <= 1
            && self.members.iter().take(legs).all(|member| member.role == Role::Leg);
        if !is_possible {
            return Err(ConfigError::Members { legs, witnesses });
        }
        match self.policy {
            Policy::Majority if self.members.len() < 3 => Err(ConfigError::Majority),
            _ => Ok(()),
        }
    }

    /// The legs: the first places of the table.
    #[must_use]
    pub fn legs(&self) -> HolderSet {
        let legs =
            self.members.iter().take(HOLDERS_MAX).enumerate().filter(|(_, member)| member.role == Role::Leg);
        legs.filter_map(|(index, _)| HolderId::new(index)).collect()
    }

    /// How many holders are a majority.
    #[must_use]
    pub const fn majority(&self) -> usize {
        self.members.len() / 2 + 1
    }
}

/// How patient a mirror is, and how much it does at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long an action may take on a leg before the leg is lost.
    pub leg_timeout: Duration,
    /// How long I/O waits for a majority before it fails; `None` waits for ever.
    pub quorum_timeout: Option<Duration>,
    /// Under [`Policy::Majority`]: how long a writer that hears from no majority goes on reading, and how long a takeover waits.
    pub lease: Duration,
    /// Most regions that are marked.
    pub intent_regions_max: u32,
    /// How many regions ahead of a sequential stream are marked.
    pub intent_ahead: u32,
    /// How long a region that was flushed stays marked after its last write.
    pub intent_idle: Duration,
    /// Every write is durable when it completes.
    pub write_through: bool,
    /// Blocks that a resync copies at once.
    pub copy_blocks: u32,
    /// Time from one copy to the next while nothing else goes on.
    pub copy_gap_idle: Duration,
    /// Time from one copy to the next while requests are under way.
    pub copy_gap_busy: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            leg_timeout: Duration::from_millis(3000),
            quorum_timeout: None,
            lease: Duration::from_millis(2000),
            intent_regions_max: 256,
            intent_ahead: 4,
            intent_idle: Duration::from_secs(5),
            write_through: false,
            copy_blocks: 256,
            copy_gap_idle: Duration::ZERO,
            copy_gap_busy: Duration::from_millis(1),
        }
    }
}
