//! What a device tells its users besides completions.

use nvme_spec::log::CriticalWarning;

use crate::geometry::Geometry;

/// How often a device has begun anew. It grows when the device was reset, lost power or lost its association: whatever
/// was acknowledged and not yet durable may be gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// Something that happened to a device. Each queue reports it once to its own thread.
///
/// Events are differences of state, so they need no queue that could overflow: a thread that did not look for a while
/// sees the newest incarnation and the newest size, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The device began anew. Acknowledged writes that no flush covered may be gone.
    IncarnationChanged(Incarnation),
    /// The device has another size or format.
    Resized(Geometry),
    /// The device failed to read or write its media; the number of such errors so far.
    MediaErrors(u64),
    /// The device warns of its own health, or has stopped to (no bit set).
    HealthWarning(CriticalWarning),
    /// The device is gone for good: every request fails from now on.
    Removed,
}
