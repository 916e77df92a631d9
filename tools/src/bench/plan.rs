//! Options that fit the device: what each job will do.

use std::num::NonZeroU64;

use block::{Abilities, Access, BlockDevice, BlockRange, Geometry, Lba};
use thiserror::Error;

use super::options::BenchOptions;
use super::verify::{self, SavedHistory};

/// Most bytes of the buffers of all jobs.
pub const BUFFER_BYTES_MAX: u64 = 8 << 30;

/// Most bytes of an I/O: a pool's chunk is smaller than 2 GiB.
const IO_BYTES_MAX: u64 = 1 << 30;

/// Why the options do not fit the device.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A number of bytes is no multiple of the block size.
    #[error("--{option} {bytes}: not a multiple of the device's blocks of {block_bytes} bytes")]
    Multiple {
        /// Which option.
        option: &'static str,
        /// Its value.
        bytes: u64,
        /// Bytes of a block.
        block_bytes: u32,
    },
    /// The device ends before the range.
    #[error("--offset {offset} --size {size}: the device has {device_bytes} bytes")]
    BeyondEnd {
        /// First byte.
        offset: u64,
        /// Number of bytes; 0 if not given.
        size: u64,
        /// Bytes of the device.
        device_bytes: u128,
    },
    /// An I/O does not fit into the range of a job.
    #[error("--bs {bs}: the {bytes} bytes of each job have no room for one")]
    NoRoom {
        /// Bytes of an I/O.
        bs: u64,
        /// Bytes of a job.
        bytes: u128,
    },
    /// An I/O larger than can be.
    #[error("--bs {bs}: at most {max} can be")]
    TooLarge {
        /// Bytes of an I/O.
        bs: u64,
        /// The most.
        max: u64,
    },
    /// The buffers would take too much memory.
    #[error(
        "--bs, --iodepth and --numjobs ask for {bytes} bytes of buffers: at most {BUFFER_BYTES_MAX} are used"
    )]
    Buffers {
        /// Bytes of all buffers.
        bytes: u128,
    },
    /// The device takes no writes.
    #[error("--rw {rw}: the device takes no {what}")]
    CannotChange {
        /// The workload.
        rw: &'static str,
        /// Writes or discards.
        what: &'static str,
    },
    /// What a discard leaves is not known.
    #[error("--verify: what discarded blocks hold is the device's choice, so --rw {rw} cannot be verified")]
    VerifyTrim {
        /// The workload.
        rw: &'static str,
    },
    /// Nothing would be verified.
    #[error("--verify: --rw {rw} writes nothing; name what an earlier run wrote with --verify-state-load")]
    VerifyNothing {
        /// The workload.
        rw: &'static str,
    },
    /// The table of histories would be too large.
    #[error(
        "--verify: {blocks} blocks would need {bytes} bytes of history, at most {max} are used: give a smaller --size"
    )]
    VerifyTable {
        /// Blocks.
        blocks: u64,
        /// Bytes of the table.
        bytes: u128,
        /// The most.
        max: u64,
    },
    /// The state file knows of no block of the range.
    #[error("--verify-state-load: the earlier run wrote no block of the range that is used now")]
    StateElsewhere,
    /// The state file is about blocks of another size.
    #[error(
        "--verify-state-load: the file is about blocks of {saved} bytes, the device has blocks of {found}"
    )]
    StateBlockSize {
        /// Bytes in the file.
        saved: u32,
        /// Bytes of the device.
        found: u32,
    },
}

/// What all jobs will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The device's shape.
    pub geometry: Geometry,
    /// The blocks to use.
    pub area: BlockRange,
    /// Blocks of an I/O.
    pub io_blocks: u32,
    /// Bytes of an I/O.
    pub io_bytes: u32,
    /// Jobs.
    pub jobs: u32,
    /// Whether each job has a part of the area to itself.
    pub divided: bool,
}

impl Plan {
    /// Fits the options to the device.
    pub fn new(options: &BenchOptions, device: &dyn BlockDevice) -> Result<Self, PlanError> {
        check_abilities(options, device.abilities())?;
        let geometry = device.geometry();
        let blocks_in = |option, bytes| {
            let block_bytes = geometry.block_size.bytes();
            let error = PlanError::Multiple { option, bytes, block_bytes };
            geometry.block_size.blocks_in(bytes).ok_or(error)
        };
        let io_blocks = blocks_in("bs", options.bs)?;
        let area = area(options, &geometry, blocks_in)?;
        let transfer_max = u64::from(geometry.limits.transfer_blocks_max);
        let max = geometry.block_size.bytes_of(transfer_max).unwrap_or(u64::MAX).min(IO_BYTES_MAX);
        let too_large = PlanError::TooLarge { bs: options.bs, max };
        let narrow = |value: u64| u32::try_from(value).map_err(|_| too_large.clone());
        if options.bs > max {
            return Err(too_large);
        }
        let plan = Self {
            geometry,
            area,
            io_blocks: narrow(io_blocks)?,
            io_bytes: narrow(options.bs)?,
            jobs: options.numjobs,
            divided: options.verify.is_some(),
        };
        plan.check_room(options)?;
        Ok(plan)
    }

    /// The blocks of a job.
    #[must_use]
    pub fn job_area(&self, job: u32) -> BlockRange {
        if !self.divided {
            return self.area;
        }
        let io_blocks = u64::from(self.io_blocks);
        let part = self.area.blocks / u64::from(self.jobs) / io_blocks * io_blocks;
        let skip = part * u64::from(job);
        let last = job + 1 == self.jobs;
        let blocks = if last { self.area.blocks - skip } else { part };
        BlockRange::new(Lba(self.area.start.0 + skip), blocks)
    }

    /// Checks that the history of an earlier run is about such blocks.
    pub fn check_saved(&self, saved: &SavedHistory) -> Result<(), PlanError> {
        let found = self.geometry.block_size.bytes();
        if saved.block_size.bytes() != found {
            return Err(PlanError::StateBlockSize { saved: saved.block_size.bytes(), found });
        }
        let mut written = saved.written();
        let known = written.any(|lba| BlockRange::new(lba, 1).overlaps(&self.area));
        if known { Ok(()) } else { Err(PlanError::StateElsewhere) }
    }

    fn check_room(&self, options: &BenchOptions) -> Result<(), PlanError> {
        let smallest = self.job_area(0).blocks;
        if smallest < u64::from(self.io_blocks) {
            let bytes = u128::from(smallest) << self.geometry.block_size.shift();
            return Err(PlanError::NoRoom { bs: options.bs, bytes });
        }
        let ios = u128::from(options.iodepth) * u128::from(options.numjobs);
        let bytes = ios * u128::from(options.bs);
        if bytes > u128::from(BUFFER_BYTES_MAX) {
            return Err(PlanError::Buffers { bytes });
        }
        if options.verify.is_some() && self.area.blocks > verify::BLOCKS_MAX {
            let of = u128::from(verify::history::BLOCK_BYTES);
            let (blocks, max) = (self.area.blocks, verify::BLOCKS_MAX * verify::history::BLOCK_BYTES);
            return Err(PlanError::VerifyTable { blocks, bytes: u128::from(blocks) * of, max });
        }
        Ok(())
    }
}

/// The right that a run needs.
#[must_use]
pub fn access(options: &BenchOptions) -> Access {
    if options.rw.writes() || options.rw.trims() { Access::ReadWrite } else { Access::Read }
}

/// How many I/O a job does before it ends, if the time does not end it.
#[must_use]
pub fn ios_max(options: &BenchOptions, plan: &Plan, job: u32) -> Option<NonZeroU64> {
    let ios = plan.job_area(job).blocks / u64::from(plan.io_blocks);
    if options.runtime.is_some() { None } else { NonZeroU64::new(ios) }
}

fn check_abilities(options: &BenchOptions, abilities: Abilities) -> Result<(), PlanError> {
    let rw = options.rw.name();
    if options.rw.writes() && !abilities.contains(Abilities::WRITE) {
        return Err(PlanError::CannotChange { rw, what: "writes" });
    }
    if options.rw.trims() && !abilities.contains(Abilities::DISCARD) {
        return Err(PlanError::CannotChange { rw, what: "discards" });
    }
    if options.verify.is_none() {
        return Ok(());
    }
    if options.rw.trims() {
        return Err(PlanError::VerifyTrim { rw });
    }
    if !options.rw.writes() && options.verify_state_load.is_none() {
        return Err(PlanError::VerifyNothing { rw });
    }
    Ok(())
}

fn area(
    options: &BenchOptions,
    geometry: &Geometry,
    blocks_in: impl Fn(&'static str, u64) -> Result<u64, PlanError>,
) -> Result<BlockRange, PlanError> {
    let start = blocks_in("offset", options.offset)?;
    let beyond = PlanError::BeyondEnd {
        offset: options.offset,
        size: options.size.unwrap_or(0),
        device_bytes: geometry.bytes(),
    };
    let left = geometry.blocks.checked_sub(start).filter(|left| *left > 0).ok_or(beyond.clone())?;
    let blocks = match options.size {
        Some(size) => blocks_in("size", size)?,
        None => left,
    };
    if blocks > left { Err(beyond) } else { Ok(BlockRange::new(Lba(start), blocks)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::test_support::options;
    use crate::bench::verify::generation::Generations;
    use crate::bench::verify::history::SavedBlock;
    use block::{BlockSize, OpenOptions, Openers};

    fn plan(device: &str, arguments: &str) -> Result<Plan, PlanError> {
        let options = options(device, arguments);
        let access = OpenOptions { access: access(&options) };
        let device = Openers::with_builtin().open_text(device, &access).unwrap();
        Plan::new(&options, &*device)
    }

    fn refusal(device: &str, arguments: &str) -> String {
        plan(device, arguments).unwrap_err().to_string()
    }

    #[test]
    fn the_whole_device_is_used_unless_told_otherwise() {
        let all = plan("null:", "--rw randread").unwrap();
        assert_eq!((all.area, all.io_blocks), (BlockRange::new(Lba(0), u64::MAX), 8));
        let part = plan("mem:1MiB?bs=4096", "--rw read --offset 64k --size 128k --bs 8k").unwrap();
        assert_eq!((part.area, part.io_blocks, part.io_bytes), (BlockRange::new(Lba(16), 32), 2, 8192));
    }

    #[test]
    fn with_verification_each_job_has_blocks_of_its_own() {
        let plan = plan("mem:1MiB", "--rw randrw --verify crc32c --numjobs 3 --size 44k --bs 4k").unwrap();
        let areas: Vec<_> = (0..3).map(|job| plan.job_area(job)).collect();
        let range = |start, blocks| BlockRange::new(Lba(start), blocks);
        assert_eq!(areas, [range(0, 24), range(24, 24), range(48, 40)]);
    }

    #[test]
    fn without_verification_each_job_uses_all() {
        let plan = plan("mem:1MiB", "--rw randrw --numjobs 3").unwrap();
        assert_eq!(plan.job_area(2), BlockRange::new(Lba(0), 2048));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        for (device, arguments, reason) in [
            ("mem:1MiB", "--bs 1000", "--bs 1000: not a multiple of the device's blocks of 512 bytes"),
            ("mem:1MiB", "--offset 1", "--offset 1: not a multiple of the device's blocks of 512 bytes"),
            ("mem:1MiB", "--size 2m", "--offset 0 --size 2097152: the device has 1048576 bytes"),
            ("mem:1MiB", "--offset 1m", "--offset 1048576 --size 0: the device has 1048576 bytes"),
            ("mem:1MiB", "--size 0", "--bs 4096: the 0 bytes of each job have no room for one"),
            ("mem:1MiB", "--bs 2m", "--bs 2097152: the 1048576 bytes of each job have no room for one"),
            ("null:", "--bs 2g", "--bs 2147483648: at most 1073741824 can be"),
            (
                "null:",
                "--bs 1m --iodepth 65536",
                "--bs, --iodepth and --numjobs ask for 68719476736 bytes of buffers: at most 8589934592 are used",
            ),
            (
                "mem:1MiB",
                "--verify crc32c",
                "--verify: --rw read writes nothing; name what an earlier run wrote with --verify-state-load",
            ),
            (
                "mem:1MiB",
                "--verify crc32c --rw trim",
                "--verify: what discarded blocks hold is the device's choice, so --rw trim cannot be verified",
            ),
            (
                "null:1TiB",
                "--verify crc32c --rw write",
                "--verify: 2147483648 blocks would need 68719476736 bytes of history, at most 4294967296 are used: give \
                 a smaller --size",
            ),
        ] {
            assert_eq!(refusal(device, arguments), reason);
        }
    }

    #[test]
    fn a_history_that_would_check_nothing_is_refused() {
        let plan = plan("mem:1MiB", "--rw randrw --verify crc32c --offset 512k").unwrap();
        let block = |issued| SavedBlock { issued, alive: Generations::NEWEST, all_from: u32::MAX };
        let blocks = vec![block(1), block(0)];
        let mut saved = SavedHistory { run: 1, block_size: BlockSize::B512, first: Lba(1023), blocks };
        assert_eq!(plan.check_saved(&saved), Err(PlanError::StateElsewhere));
        saved.first = Lba(1024);
        assert_eq!(plan.check_saved(&saved), Ok(()));
        saved.block_size = BlockSize::B4096;
        assert_eq!(plan.check_saved(&saved), Err(PlanError::StateBlockSize { saved: 4096, found: 512 }));
    }

    #[test]
    fn a_device_for_reading_is_not_written() {
        let options = options("mem:1MiB", "--rw randwrite");
        let device = Openers::with_builtin().open_text("mem:1MiB", &OpenOptions::READ).unwrap();
        let refused = Plan::new(&options, &*device).unwrap_err();
        assert_eq!(refused.to_string(), "--rw randwrite: the device takes no writes");
    }
}
