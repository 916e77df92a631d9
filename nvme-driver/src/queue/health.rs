//! Events as differences of state: what happened since a queue last told its owner.

use block::{Event, Geometry, Incarnation};
use nvme_spec::log::CriticalWarning;

/// What there is to see of a device now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) incarnation: u64,
    pub(super) geometry: Geometry,
    pub(super) media_errors: u64,
    pub(super) critical_warning: u8,
    pub(super) removed: bool,
}

impl Seen {
    /// The next difference to `now`, and takes note of it.
    pub(super) fn next_event(&mut self, now: &Self) -> Option<Event> {
        if self.incarnation != now.incarnation {
            self.incarnation = now.incarnation;
            return Some(Event::IncarnationChanged(Incarnation(now.incarnation)));
        }
        if self.geometry != now.geometry {
            self.geometry = now.geometry;
            return Some(Event::Resized(now.geometry));
        }
        if self.media_errors != now.media_errors {
            self.media_errors = now.media_errors;
            return Some(Event::MediaErrors(now.media_errors));
        }
        if self.critical_warning != now.critical_warning {
            self.critical_warning = now.critical_warning;
            return Some(Event::HealthWarning(CriticalWarning::from_bits_retain(now.critical_warning)));
        }
        if self.removed != now.removed {
            self.removed = now.removed;
            return Some(Event::Removed);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{BlockSize, Limits, WriteCache};

    #[test]
    fn each_difference_is_told_once() {
        let geometry = Geometry {
            block_size: BlockSize::B512,
            blocks: 8,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Through,
        };
        let mut seen =
            Seen { incarnation: 0, geometry, media_errors: 0, critical_warning: 0, removed: false };
        let larger = Geometry { blocks: 16, ..geometry };
        let now =
            Seen { incarnation: 3, geometry: larger, media_errors: 2, critical_warning: 1, removed: true };
        let told: Vec<_> = std::iter::from_fn(|| seen.next_event(&now)).collect();
        assert_eq!(told.len(), 5);
        assert_eq!(
            told[..3],
            [Event::IncarnationChanged(Incarnation(3)), Event::Resized(larger), Event::MediaErrors(2)]
        );
        assert_eq!(told[4], Event::Removed);
    }
}
