//! Which of several threads a message is for. One of them owns queue pair 1; the names of connections tell the others.

use thiserror::Error;

use crate::soft::wire::mad::{CommunicationId, Recipient};

/// Most threads that share an address.
pub const SHARDS_MAX: u8 = 64;

/// Bits of a communication id that are not the thread's number.
const RANDOM_BITS: u32 = 26;
const RANDOM_MASK: u32 = (1 << RANDOM_BITS) - 1;

/// A number that is no [`Shard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("thread {0}: at most {SHARDS_MAX} share an address")]
pub struct ShardError(pub u8);

/// One of the threads (endpoints) that share an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard(u8);

impl Shard {
    /// The first: the owner of queue pair 1.
    pub const FIRST: Self = Self(0);

    /// Below [`SHARDS_MAX`].
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// A name for a connection of this thread; `random` gives the rest of it.
    pub(super) const fn name(self, random: u32) -> CommunicationId {
        CommunicationId::new((self.0 as u32) << RANDOM_BITS | random & RANDOM_MASK)
    }

    /// The thread that gave that name.
    fn of(id: CommunicationId) -> Self {
        let [high, ..] = id.value().to_be_bytes();
        Self(high >> 2)
    }
}

impl TryFrom<u8> for Shard {
    type Error = ShardError;

    fn try_from(number: u8) -> Result<Self, ShardError> {
        if number < SHARDS_MAX { Ok(Self(number)) } else { Err(ShardError(number)) }
    }
}

/// Where a message is to be handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// By that thread; by none, if there is no such thread.
    Shard(Shard),
    /// By the thread that listens on that port; by any, if nobody does: it rejects.
    Listener(u16),
    /// By all threads: the peer does not know the name of our part. At most one of them will know the peer's.
    Everyone,
    /// By any thread: it is malformed, or asks for what nobody can listen for.
    Anyone,
}

/// Where the payload of a datagram to queue pair 1 is to be handled.
#[must_use]
pub fn route(bytes: &[u8]) -> Route {
    match Recipient::read(bytes) {
        Ok(Recipient::Service(service)) => service.port().map_or(Route::Anyone, Route::Listener),
        Ok(Recipient::Connection(CommunicationId::UNKNOWN)) => Route::Everyone,
        Ok(Recipient::Connection(id)) => Route::Shard(Shard::of(id)),
        Err(_) => Route::Anyone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soft::wire::mad::MAD_BYTES;

    fn mad(attribute: u8, at: usize, value: &[u8]) -> [u8; MAD_BYTES] {
        let mut bytes = [0; MAD_BYTES];
        bytes[..4].copy_from_slice(&[1, 7, 2, 3]);
        bytes[17] = attribute;
        bytes[24 + at..][..value.len()].copy_from_slice(value);
        bytes
    }

    #[test]
    fn requests_go_to_who_listens() {
        assert_eq!(route(&mad(0x10, 8, &[0, 0, 0, 0, 1, 6, 0x11, 0x44])), Route::Listener(4420));
        assert_eq!(route(&mad(0x10, 8, &[0, 0, 0, 0, 1, 7, 0x11, 0x44])), Route::Anyone);
    }

    #[test]
    fn the_rest_goes_to_who_gave_the_name() {
        for attribute in 0x11..=0x16 {
            let bytes = mad(attribute, 4, &[0xfd, 0x34, 0x56, 0x78]);
            assert_eq!(route(&bytes), Route::Shard(Shard(63)), "{attribute:#x}");
        }
        assert_eq!(route(&mad(0x14, 4, &[0x03, 0xff, 0xff, 0xff])), Route::Shard(Shard::FIRST));
        assert_eq!(route(&mad(0x12, 4, &[0; 4])), Route::Everyone);
    }

    #[test]
    fn what_is_no_message_goes_anywhere() {
        assert_eq!(route(&[]), Route::Anyone);
        assert_eq!(route(&mad(0x17, 4, &[1; 4])), Route::Anyone);
    }

    #[test]
    fn names_carry_the_thread() {
        let shard = Shard::try_from(5).unwrap();
        assert_eq!(shard.name(u32::MAX), CommunicationId::new(0x17ff_ffff));
        assert_eq!(Shard::of(shard.name(0)), shard);
        assert_eq!(Shard::try_from(64), Err(ShardError(64)));
    }
}
