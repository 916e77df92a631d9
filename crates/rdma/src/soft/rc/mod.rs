//! The reliable connection (InfiniBand Architecture volume 1, chapter 9): what turns work into packets and packets into
//! completions. It does no I/O and reads no clock.
//!
//! A [`QueuePair`] is two machines that share nothing but a number and a state: the requester carries out the work of this
//! side, the responder that of the peer. What several queue pairs share, they are lent by the endpoint in a [`Context`].
//!
//! The endpoint calls [`QueuePair::handle_packet`] for each packet of the peer, [`QueuePair::handle_timeout`] when
//! [`QueuePair::next_timeout`] has come, and after any of these, and after posting, [`QueuePair::transmit`] while
//! [`QueuePair::has_work`]; [`Turn`] says when again.

mod context;
mod failure;
mod flow;
mod parameters;
mod queue_pair;
mod receive_queue;
mod requester;
mod responder;
mod rtt;
#[cfg(test)]
mod tests;

pub use context::{Context, Outbox, Window, Windows};
pub use failure::{Event, Failure};
pub use flow::{Flow, ReadBudget};
pub use parameters::{ACK_TIMEOUT_DEFAULT, Parameters};
pub use queue_pair::{QueuePair, State, Turn};
pub use receive_queue::ReceiveQueue;
