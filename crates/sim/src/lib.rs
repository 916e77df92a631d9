//! What simulations are made of: [`VirtualClock`], a [`Network`] that loses, doubles, reorders, corrupts and delays by a seed,
//! [`Coverage`] of state machines, and [`run_seeds`].
//!
//! It knows datagrams and nothing of who sends them: a test connects it to the code that it drives. The same seed gives the
//! same run, whatever the machine does meanwhile.

mod clock;
mod coverage;
mod dice;
mod network;
mod once;
mod seeds;

pub use clock::VirtualClock;
pub use coverage::Coverage;
pub use dice::Dice;
pub use network::{Datagram, Faults, INBOX_MAX, Network, NetworkCounts};
pub use once::Once;
pub use seeds::{SEED_VARIABLE, SEEDS_VARIABLE, run_seeds};
