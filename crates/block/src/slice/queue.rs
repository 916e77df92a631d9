//! A queue whose requests are moved by the slice's start on their way.

use std::collections::VecDeque;
use std::os::fd::RawFd;

use super::View;
use crate::device::Abilities;
use crate::error::IoError;
use crate::event::Event;
use crate::geometry::Geometry;
use crate::queue::{BlockQueue, Completion, Wait};
use crate::request::Request;
use crate::time::Timestamp;

pub(super) struct SliceQueue<Q> {
    parent: Q,
    view: View,
    abilities: Abilities,
    geometry: Geometry,
    /// Moved, on the way to the parent.
    moved: VecDeque<Request>,
    /// Refused here, since the parent would see nothing wrong.
    refused: VecDeque<Completion>,
}

impl<Q: BlockQueue> SliceQueue<Q> {
    pub(super) fn new(parent: Q, view: View, abilities: Abilities, geometry: Geometry) -> Self {
        let depth = parent.depth();
        let (moved, refused) = (VecDeque::with_capacity(depth), VecDeque::with_capacity(depth));
        Self { parent, view, abilities, geometry, moved, refused }
    }

    fn check(&self, request: &Request) -> Result<(), IoError> {
        request.check(&self.geometry)?;
        self.abilities.check(request.op)
    }

    fn move_in(&self, request: &mut Request) {
        if request.op.has_range() {
            request.range.start.0 += self.view.range.start.0;
        }
    }

    fn move_out(&self, request: &mut Request) {
        if request.op.has_range() {
            request.range.start.0 -= self.view.range.start.0;
        }
    }
}

impl<Q: BlockQueue> BlockQueue for SliceQueue<Q> {
    fn submit(&mut self, requests: &mut VecDeque<Request>, now: Timestamp) {
        while self.in_flight() + self.moved.len() < self.depth() {
            let Some(mut request) = requests.pop_front() else { break };
            match self.check(&request) {
                Ok(()) => {
                    self.move_in(&mut request);
                    self.moved.push_back(request);
                }
                Err(error) => self.refused.push_back(Completion { request, result: Err(error) }),
            }
        }
        self.parent.submit(&mut self.moved, now);
        while let Some(mut request) = self.moved.pop_back() {
            self.move_out(&mut request);
            requests.push_front(request);
        }
    }

    fn poll(&mut self, completions: &mut Vec<Completion>, now: Timestamp) {
        let before = completions.len();
        self.parent.poll(completions, now);
        for completion in &mut completions[before..] {
            self.move_out(&mut completion.request);
        }
        completions.extend(self.refused.drain(..));
    }

    fn poll_event(&mut self) -> Option<Event> {
        // The parent reports each change once, so this ends.
        while let Some(event) = self.parent.poll_event() {
            let Event::Resized(parent) = event else { return Some(event) };
            let geometry = self.view.geometry(&parent);
            if geometry != self.geometry {
                self.geometry = geometry;
                return Some(Event::Resized(geometry));
            }
        }
        None
    }

    fn depth(&self) -> usize {
        self.parent.depth()
    }

    fn in_flight(&self) -> usize {
        self.parent.in_flight() + self.refused.len()
    }

    fn wake_descriptors(&self, descriptors: &mut Vec<RawFd>) {
        self.parent.wake_descriptors(descriptors);
    }

    fn prepare_wait(&mut self, now: Timestamp) -> Wait {
        let parent = self.parent.prepare_wait(now);
        if self.refused.is_empty() { parent } else { Wait::Poll }
    }
}
