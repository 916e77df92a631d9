//! What the daemon's thread is asked to do, by the control socket and by signals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use block::Waker;
use crossbeam_queue::ArrayQueue;

use crate::control::protocol::{Reply, Request};

/// Most orders that wait.
const ORDERS_MAX: usize = 64;

/// How long an order may take: a device that is opened or drained has its own, shorter bounds.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the reply to an order may take that was placed when the target had begun to end: it may have been carried out
/// just before.
const PATIENCE_AT_END: Duration = Duration::from_millis(200);

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
    is_closed: AtomicBool,
}

impl Desk {
    /// Wakes the daemon's thread by this waker.
    pub(crate) fn new(waker: Waker) -> Self {
        Self { orders: ArrayQueue::new(ORDERS_MAX), waker, is_closed: AtomicBool::new(false) }
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
        // Asked after the order is placed: whoever closes the desk looks for orders after that.
        let is_closed = self.is_closed.load(Ordering::SeqCst);
        let patience = if is_closed { PATIENCE_AT_END } else { PATIENCE };
        receiver.recv_timeout(patience).unwrap_or_else(|_| {
            if self.is_closed.load(Ordering::SeqCst) {
                return Reply::error("the target is ending");
            }
            Reply::error(format_args!("not done within {} s; it may still be done", PATIENCE.as_secs()))
        })
    }

    /// Orders are carried out no longer; those that wait end without a reply of their own.
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        while self.orders.pop().is_some() {}
    }

    /// The oldest order.
    pub(crate) fn take(&self) -> Option<Order> {
        self.orders.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn desk() -> Desk {
        let sleeper = block::Sleeper::new().unwrap();
        Desk::new(sleeper.waker())
    }

    #[test]
    fn who_asks_gets_the_reply() {
        let desk = desk();
        thread::scope(|scope| {
            let asked = scope.spawn(|| desk.ask(Request::Drain {}));
            let order = loop {
                match desk.take() {
                    Some(order) => break order,
                    None => thread::yield_now(),
                }
            };
            let Order::Answer(Request::Drain {}, sender) = order else { panic!("{order:?}") };
            sender.send(Reply::Draining {}).unwrap();
            assert_eq!(asked.join().unwrap(), Reply::Draining {});
        });
    }

    #[test]
    fn nobody_waits_for_a_target_that_ends() {
        let desk = desk();
        thread::scope(|scope| {
            let asked = scope.spawn(|| desk.ask(Request::Status {}));
            thread::yield_now();
            desk.close();
            assert_eq!(asked.join().unwrap(), Reply::error("the target is ending"));
        });
        assert_eq!(desk.ask(Request::Status {}), Reply::error("the target is ending"));
    }

    #[test]
    fn orders_that_wait_are_bounded() {
        let desk = desk();
        assert!((0..ORDERS_MAX).all(|_| desk.place(Order::Reload)));
        assert!(!desk.place(Order::Reload));
        assert_eq!(desk.ask(Request::Status {}), Reply::error("64 requests wait already"));
    }
}
