//! Admin commands from outside, as jobs.

use nvme_spec::{Cqe, Sqe};

use super::Core;
use super::job::Job;
use super::queues::UNNUMBERED;
use crate::admin::{AdminCall, AdminError};
use crate::pci::PciFunction;

impl<F: PciFunction> Core<F> {
    /// Puts the next command from outside into the line of jobs: one at a time, so that the core's own jobs wait for
    /// one of them at most.
    pub(super) fn take_admin_call(&mut self) {
        if self.is_over() {
            // Nobody will answer: dropping a call tells its owner.
            while self.shared.admin_calls.pop().is_some() {}
            return;
        }
        let waits = self.current.iter().chain(&self.jobs).any(|job| matches!(job, Job::Outside(_)));
        if !waits && let Some(call) = self.shared.admin_calls.pop() {
            self.jobs.push_back(Job::Outside(call));
        }
    }

    pub(super) fn outside_command(&self, call: &AdminCall) -> Sqe {
        // What the controller leaves unwritten shall not show what another job has read.
        let page = &self.memory.data;
        if page.device_fill(0, page.bytes(), 0).is_err() {
            tracing::error!("the core's own page cannot be cleared");
        }
        call.command.sqe(UNNUMBERED).with_prps(self.memory.data_iova, 0)
    }

    pub(super) fn outside_answered(&self, call: AdminCall, entry: &Cqe) {
        let answer = if entry.status().is_success() {
            let bytes = self.read_page().map(|page| page[..call.bytes as usize].to_vec());
            bytes.ok_or(AdminError::Lost)
        } else {
            Err(AdminError::Refused(entry.status()))
        };
        call.answer(answer);
    }
}
