//! Sizes of what reactors have and of what hosts are granted.

use std::ops::{Range, RangeInclusive};

use nvmf::controller::Limits;
use toml::Spanned;

use super::Checker;
use crate::config::file::{self, Size};
use crate::engine::{
    BufferOptions, DATA_BYTES_MAX, DATA_BYTES_MIN, READ_BYTES_MIN, RECEIVES_MAX, RECEIVES_MIN,
};

impl Checker<'_, '_> {
    pub(super) fn buffers(&mut self, of: &file::Buffers) -> BufferOptions {
        let default = BufferOptions::default();
        let receives = of.receives.as_ref().map_or(default.receives, |count| *count.get_ref());
        if let Some(span) = of.receives.as_ref().map(Spanned::span) {
            let range = u64::from(RECEIVES_MIN)..=u64::from(RECEIVES_MAX);
            self.within(&span, "receives", receives.into(), range);
        }
        let data = DATA_BYTES_MIN..=DATA_BYTES_MAX;
        let reads = READ_BYTES_MIN..=DATA_BYTES_MAX;
        BufferOptions {
            data_bytes: self.size_within("data", of.data.as_ref(), data).unwrap_or(default.data_bytes),
            receives,
            read_bytes: self.size_within("reads", of.reads.as_ref(), reads).unwrap_or(default.read_bytes),
        }
    }

    fn size_within(
        &mut self,
        key: &str,
        size: Option<&Spanned<Size>>,
        range: RangeInclusive<u64>,
    ) -> Option<u64> {
        let bytes = self.size(size)?;
        self.within(&size?.span(), key, bytes, range);
        Some(bytes)
    }

    fn within(&mut self, span: &Range<usize>, key: &str, value: u64, range: RangeInclusive<u64>) {
        if !range.contains(&value) {
            let (least, most) = range.into_inner();
            self.problems.note(span, format_args!("{key} = {value}: {least} to {most}"));
        }
    }

    pub(super) fn limits(&mut self, of: &file::Limits) -> Limits {
        let default = Limits::default();
        let limits = Limits {
            admin_queue_entries: number(of.admin_queue_entries.as_ref(), default.admin_queue_entries),
            io_queue_entries: number(of.io_queue_entries.as_ref(), default.io_queue_entries),
            io_queues: number(of.io_queues.as_ref(), default.io_queues),
            in_capsule_bytes: self.size_u32(of.in_capsule.as_ref(), default.in_capsule_bytes),
            transfer_bytes_max: self.size_u32(of.transfer_max.as_ref(), default.transfer_bytes_max),
            controllers: number(of.controllers.as_ref(), default.controllers),
        };
        self.each_limit(of, &limits);
        limits
    }

    /// Asks for each limit by itself, since only so the line is known.
    fn each_limit(&mut self, of: &file::Limits, limits: &Limits) {
        let good = Limits::default();
        let span = |number: Option<&Spanned<u16>>| number.map(Spanned::span);
        let bytes = |size: Option<&Spanned<Size>>| size.map(Spanned::span);
        let one_by_one = [
            (
                span(of.admin_queue_entries.as_ref()),
                Limits { admin_queue_entries: limits.admin_queue_entries, ..good },
            ),
            (
                span(of.io_queue_entries.as_ref()),
                Limits { io_queue_entries: limits.io_queue_entries, ..good },
            ),
            (span(of.io_queues.as_ref()), Limits { io_queues: limits.io_queues, ..good }),
            (bytes(of.in_capsule.as_ref()), Limits { in_capsule_bytes: limits.in_capsule_bytes, ..good }),
            (
                bytes(of.transfer_max.as_ref()),
                Limits { transfer_bytes_max: limits.transfer_bytes_max, ..good },
            ),
            (span(of.controllers.as_ref()), Limits { controllers: limits.controllers, ..good }),
        ];
        for (span, limits) in one_by_one {
            if let Some(span) = span {
                self.problems.take(&span, limits.check());
            }
        }
    }
}

fn number(number: Option<&Spanned<u16>>, default: u16) -> u16 {
    number.map_or(default, |number| *number.get_ref())
}
