//! Receives that wait for messages.

use std::collections::VecDeque;

use crate::Receive;

/// Receives in the order of posting, of one queue pair or shared by several.
#[derive(Debug)]
pub struct ReceiveQueue {
    receives: VecDeque<Receive>,
    depth: u32,
}

impl ReceiveQueue {
    /// Room for `depth` receives; memory is taken as they come.
    #[must_use]
    pub const fn new(depth: u32) -> Self {
        Self { receives: VecDeque::new(), depth }
    }

    /// Takes receives from the front for as long as there is room.
    pub fn post(&mut self, receives: &mut VecDeque<Receive>) {
        let room = (self.depth as usize).saturating_sub(self.receives.len());
        let taken = room.min(receives.len());
        self.receives.extend(receives.drain(..taken));
    }

    /// The receive that was posted first.
    #[inline]
    pub fn take(&mut self) -> Option<Receive> {
        self.receives.pop_front()
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.receives.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.receives.is_empty()
    }
}
