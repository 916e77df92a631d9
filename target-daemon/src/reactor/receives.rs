//! A port's receives: one shared queue for the I/O queues' capsules, another for those of admin queues and of connections to come.

use std::collections::VecDeque;

use dma::DmaBuf;
use rdma::{CreateError, Receive, SharedReceiveQueueId};

use super::buffers::{ADMIN_RECEIVES, Buffers};
use super::port::Port;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReceiveKind {
    Io,
    Admin,
}

const IO: u64 = 0;
const ADMIN: u64 = 1;

impl ReceiveKind {
    /// The name of a receive: only what it was taken for.
    const fn id(self) -> u64 {
        match self {
            Self::Io => IO,
            Self::Admin => ADMIN,
        }
    }

    pub(super) const fn of(id: u64) -> Self {
        if id == ADMIN { Self::Admin } else { Self::Io }
    }
}

struct Shared {
    id: SharedReceiveQueueId,
    /// To be posted.
    ready: VecDeque<Receive>,
    /// Receives that are lent to commands: when their chunks are back, new ones are taken in their place.
    lent: u32,
}

/// See the module's words.
pub(super) struct Receives {
    io: Shared,
    admin: Shared,
}

fn shared(
    port: &mut dyn Port,
    kind: ReceiveKind,
    depth: u32,
    take: impl Fn() -> Option<DmaBuf>,
) -> Result<Shared, CreateError> {
    let depth = depth.min(port.limits().shared_receive_depth_max);
    let id = port.create_shared_receive_queue(depth)?;
    let buffers = std::iter::from_fn(take).take(depth as usize);
    let ready = buffers.map(|buffer| Receive { id: kind.id(), buffer }).collect();
    Ok(Shared { id, ready, lent: 0 })
}

impl Receives {
    /// Takes this port's part of the receives, to be posted by [`Self::post`].
    pub(super) fn new(port: &mut dyn Port, buffers: &Buffers, io_depth: u32) -> Result<Self, CreateError> {
        Ok(Self {
            io: shared(port, ReceiveKind::Io, io_depth, || buffers.take_receive())?,
            admin: shared(port, ReceiveKind::Admin, ADMIN_RECEIVES, || buffers.take_admin_receive())?,
        })
    }

    /// Those of no port, which are given back and never posted.
    #[cfg(test)]
    pub(super) fn detached() -> Self {
        let none = || {
            let id = rdma::Slots::new(1).insert(());
            let Ok(id) = id else { unreachable!("there is room for one") };
            Shared { id: id.into(), ready: VecDeque::new(), lent: 0 }
        };
        Self { io: none(), admin: none() }
    }

    pub(super) const fn queue(&self, kind: ReceiveKind) -> SharedReceiveQueueId {
        match kind {
            ReceiveKind::Io => self.io.id,
            ReceiveKind::Admin => self.admin.id,
        }
    }

    /// A message is done with: its buffer can take another.
    #[inline]
    pub(super) fn give_back(&mut self, kind: ReceiveKind, buffer: DmaBuf) {
        let shared = match kind {
            ReceiveKind::Io => &mut self.io,
            ReceiveKind::Admin => &mut self.admin,
        };
        shared.ready.push_back(Receive { id: kind.id(), buffer });
    }

    /// The buffer of an I/O capsule stays with its command; its chunk goes back to the pool by itself.
    #[inline]
    pub(super) fn lend(&mut self) {
        self.io.lent += 1;
    }

    /// Posts what can be posted, before any response of this turn: a host that has its response may send the next capsule.
    #[inline]
    pub(super) fn post(&mut self, port: &mut dyn Port, buffers: &Buffers) {
        while self.io.lent > 0
            && let Some(buffer) = buffers.take_receive()
        {
            self.io.lent -= 1;
            self.give_back(ReceiveKind::Io, buffer);
        }
        for shared in [&mut self.io, &mut self.admin] {
            if !shared.ready.is_empty()
                && let Err(error) = port.post_shared_receive(shared.id, &mut shared.ready)
            {
                tracing::error!(%error, "receives cannot be posted");
                shared.ready.clear();
            }
        }
    }
}
