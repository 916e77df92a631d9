//! Everything is a block device: the one seam that drives, remote namespaces and mirrors implement.
//!
//! - [`BlockDevice`] is what is shared between threads: shape, identity, abilities, and the maker of queues.
//! - [`BlockQueue`] belongs to one thread. It takes [`Request`]s in batches and gives each back exactly once, by value,
//!   in a [`Completion`]; it reports [`Event`]s; and it says when a reactor may sleep.
//! - Time comes in as a [`Timestamp`]; nothing here reads a clock but [`MonotonicClock`], for reactors.

mod attached;
pub mod claim;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod device;
pub mod error;
pub mod event;
pub mod file;
pub mod geometry;
mod identity;
mod immediate;
pub mod mem;
pub mod null;
pub mod opener;
pub mod queue;
pub mod request;
pub mod sleep;
pub mod slice;
pub mod split;
pub mod time;
pub mod uri;

pub use claim::{Access, Claim, ClaimError, ClaimTable};
pub use device::{Abilities, BlockDevice, Extent, ExtentKind, Identity};
pub use error::{ExtentsError, InvalidRequest, IoError, OpenQueueError, Outcome};
pub use event::{Event, Incarnation};
pub use file::{FileDevice, FileOptions};
pub use geometry::{BlockSize, Geometry, Limits, WriteCache};
pub use identity::derive as derive_uuid;
pub use mem::MemDevice;
pub use null::NullDevice;
pub use nvme_spec::{Lba, Status};
pub use opener::{OpenError, OpenOptions, Opener, Openers};
pub use queue::{BlockQueue, Completion, QueueOptions, Wait, WakeMode};
pub use request::{BlockRange, Op, PieceMark, PieceMarker, Request, ReservationOp};
pub use sleep::{Interest, SleepError, Sleeper, Waker};
pub use slice::{SliceDevice, SliceError};
pub use split::{Split, SplitDevice};
pub use time::{MonotonicClock, Timestamp};
pub use uri::{DeviceUri, Scheme, Target, parse_size};
