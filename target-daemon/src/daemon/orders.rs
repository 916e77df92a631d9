//! What the daemon's thread is asked to do, by the control socket and by signals.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use block::Waker;
use crossbeam_queue::ArrayQueue;

use crate::control::protocol::{Reply, Request};

/// Most orders that wait.
const ORDERS_MAX: usize = 64;

/// How long an order may take: a device that is opened or drained has its own, shorter bounds.
const PATIENCE: Duration = Duration::from_secs(60);

/// An order.
#[derive(Debug)]
pub(crate) enum Order {
    /// A request, and where the reply goes.
    Answer(Request, SyncSender<Reply>),
    /// Read the configuration again.
    Reload,
    /// End.
    Drain,
}

/// Takes orders from other threads.
#[derive(Debug)]
pub(crate) struct Desk {
    orders: ArrayQueue<Order>,
    waker: Waker,
}

impl Desk {
    /// Wakes the daemon's thread by this waker.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { orders: ArrayQueue::new(ORDERS_MAX), waker }
    }

    /// Places an order; whether there was room.
    pub(crate) fn place(&self, order: Order) -> bool {
        let is_placed = self.orders.push(order).is_ok();
        self.waker.wake();
        is_placed
    }

    /// Asks, and waits for the reply.
    pub(crate) fn ask(&self, request: Request) -> Reply {
        let (sender, receiver) = sync_channel(1);
        if !self.place(Order::Answer(request, sender)) {
            return Reply::error(format_args!("{ORDERS_MAX} requests wait already"));
        }
        receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            Reply::error(format_args!("not done within {} s; it may still be done", PATIENCE.as_secs()))
        })
    }

    /// The oldest order.
    pub(crate) fn take(&self) -> Option<Order> {
        self.orders.pop()
    }
}
