//! RDMA: one seam ([`Provider`], [`Device`], [`Endpoint`]) and what is behind it.
//!
//! - [`soft`]: RoCEv2 in userspace over UDP port 4791. The packets are the standard's: Linux's rdma_rxe and RoCE adapters
//!   understand them. Needs no hardware and no privilege.
//! - `verbs` (feature `verbs`): libibverbs and librdmacm, for adapters and for the kernel's rdma_rxe.
//!
//! Connected queue pairs carry SEND, SEND with invalidate, RDMA WRITE and RDMA READ between registered memory. The
//! contract is [`Endpoint`]'s; one conformance suite holds every provider to it.

mod built;
mod choose;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod connection;
mod counters;
mod device;
mod error;
mod handle;
mod local;
mod provider;
pub mod soft;
#[cfg(feature = "verbs")]
pub mod verbs;
mod work;

pub use built::{NotBuilt, ProviderTask, verbs_devices};
pub use choose::{ChoiceError, Chosen, ProviderChoice, ProviderKind};
pub use connection::{
    Agreement, ConnectionError, ConnectionEvent, ConnectionParameters, PeerOffer, PrivateData,
    QueuePairOptions, REJECT_PRIVATE_BYTES_MAX, REPLY_PRIVATE_BYTES_MAX, REQUEST_PRIVATE_BYTES_MAX,
    RNR_RETRIES_ENDLESS, ReceiveSource,
};
pub use counters::Counters;
pub use device::{DeviceEvent, DeviceInfo, DeviceLimits, DeviceOptions, EndpointOptions, PathMtu, PortState};
pub use error::{AnswerError, BindError, CreateError, DevicesError, ListenError, OpenError, PostError};
pub use handle::{Handle, ListenerId, QueuePairId, SharedReceiveQueueId, Slots};
pub use local::{LOOPBACK_CANDIDATES, LocalAddressError, local_address, local_addresses};
pub use provider::{Device, Endpoint, Provider, Request};
pub use work::{
    Completion, Data, INLINE_BYTES_MAX, InlineData, Message, Outcome, Receive, RemoteKey, RemoteMemory,
    Rights, SendOp, SendWork, WorkError,
};
