//! What the admin queue is used for, one job at a time; events and aborts go beside.

use block::Timestamp;
use nvme_spec::{Cqe, Sqe};

use super::Core;
use super::admin_queue::{Answer, Purpose};
use super::init::InitStep;
use super::lifecycle::State;
use super::scan::Scan;
use crate::admin::AdminCall;
use crate::pci::PciFunction;
use crate::queue::Orphan;
use crate::shared::{AttachQueue, Message, ResetReason};
use nvme_spec::command::LogPageId;

/// Most answers that one step takes.
const ANSWERS_MAX: usize = 64;
/// Most steps of jobs that need no command, in a row.
const SKIPS_MAX: usize = 64;

/// One admin command with its reason; what follows from the answer may be another job.
#[derive(Debug)]
pub(super) enum Job {
    /// A step of the initialisation.
    Init(InitStep),
    /// A step of looking at the namespaces.
    Scan(Scan),
    /// A log page is read, which clears the event that pointed to it.
    Log(LogPageId),
    /// A queue pair's completion queue is created.
    CreateCq(AttachQueue),
    /// Its submission queue is created.
    CreateSq(AttachQueue),
    /// The submission queue was refused: the completion queue is deleted again.
    UndoCq(AttachQueue),
    /// A dropped queue's submission queue is deleted: when that is done, none of its commands is outstanding.
    DeleteSq(Box<Orphan>),
    /// Its completion queue is deleted.
    DeleteCq(Box<Orphan>),
    /// A command from outside.
    Outside(AdminCall),
    /// The end of the initialisation.
    GoLive,
}

impl Job {
    /// What a controller that has just been enabled is asked first.
    pub(super) fn first() -> Self {
        Self::Init(InitStep::FIRST)
    }
}

impl<F: PciFunction> Core<F> {
    /// Puts the queues' messages into the line of jobs; it is bounded by the mailbox and the number of queues.
    pub(super) fn take_messages(&mut self) {
        for _ in 0..self.shared.messages.capacity() {
            match self.shared.messages.pop() {
                None => break,
                Some(Message::Attach(attach)) => self.jobs.push_back(Job::CreateCq(attach)),
                Some(Message::Orphan(orphan)) => self.jobs.push_back(Job::DeleteSq(orphan)),
            }
        }
        if self.is_over() {
            self.bury_late_orphans();
        }
    }

    pub(crate) fn has_no_work(&self) -> bool {
        self.jobs.is_empty() && self.current.is_none() && self.shared.messages.is_empty()
    }

    /// Starts the next job, if none is under way.
    pub(super) fn start_job(&mut self, now: Timestamp) {
        for _ in 0..SKIPS_MAX {
            if self.current.is_some() || !matches!(self.state, State::Live | State::Initialising) {
                return;
            }
            let Some(job) = self.jobs.pop_front() else { return };
            match self.command_of(&job) {
                Some(command) => self.send_job(job, &command, now),
                None => self.skip(job),
            }
        }
    }

    fn send_job(&mut self, job: Job, command: &Sqe, now: Timestamp) {
        let due = now.after(self.shared.options.admin_timeout);
        if self.admin.send(&*self.shared.function, command, Purpose::Job, due) {
            self.current = Some(job);
        } else {
            self.jobs.push_front(job);
        }
    }

    /// The command of a job; `None` if there is nothing to ask.
    fn command_of(&self, job: &Job) -> Option<Sqe> {
        match job {
            Job::Init(step) => self.init_command(*step),
            Job::Scan(scan) => Some(self.scan_command(scan)),
            Job::Log(lid) => Some(self.log_command(*lid)),
            Job::CreateCq(attach) => self.create_cq_command(attach),
            Job::CreateSq(attach) => self.create_sq_command(attach),
            Job::UndoCq(attach) => Some(Self::delete_cq_command(&attach.link)),
            Job::DeleteSq(orphan) => self.delete_sq_command(orphan),
            Job::DeleteCq(orphan) => Some(Self::delete_cq_command(&orphan.link)),
            Job::Outside(call) => Some(self.outside_command(call)),
            Job::GoLive => None,
        }
    }

    /// What becomes of a job that had nothing to ask.
    fn skip(&mut self, job: Job) {
        match job {
            Job::Init(step) => self.init_skipped(step),
            Job::CreateCq(attach) | Job::CreateSq(attach) => self.attach_is_stale(&attach),
            Job::DeleteSq(orphan) | Job::DeleteCq(orphan) => self.bury(*orphan),
            Job::GoLive => self.go_live(),
            Job::Scan(_) | Job::Log(_) | Job::UndoCq(_) | Job::Outside(_) => {}
        }
    }

    /// Takes what the controller has answered on the admin queue.
    pub(super) fn take_answers(&mut self, now: Timestamp) {
        for _ in 0..ANSWERS_MAX {
            if !matches!(self.state, State::Live | State::Initialising) {
                return;
            }
            match self.admin.poll(&*self.shared.function) {
                None => return,
                Some(Answer::Of(Purpose::Job, entry)) => self.job_answered(&entry, now),
                Some(Answer::Of(Purpose::Event, entry)) => self.event_came(&entry),
                Some(Answer::Of(Purpose::Abort(queue), _)) => self.abort_answered(queue),
                Some(Answer::Stray(command)) => {
                    let queue = nvme_spec::QueueId::ADMIN;
                    self.fail(&ResetReason::StrayCompletion { queue, command }, now);
                }
            }
        }
    }

    fn job_answered(&mut self, entry: &Cqe, now: Timestamp) {
        let Some(job) = self.current.take() else { return };
        match job {
            Job::Init(step) => self.init_answered(step, entry, now),
            Job::Scan(scan) => self.scan_answered(scan, entry, now),
            Job::Log(lid) => self.log_answered(lid, entry),
            Job::CreateCq(attach) => self.cq_created(attach, entry, now),
            Job::CreateSq(attach) => self.sq_created(attach, entry, now),
            Job::UndoCq(attach) => self.cq_undone(&attach, entry, now),
            Job::DeleteSq(orphan) => self.sq_deleted(orphan, entry, now),
            Job::DeleteCq(orphan) => self.cq_deleted(*orphan, entry, now),
            Job::Outside(call) => self.outside_answered(call, entry),
            Job::GoLive => {}
        }
    }
}
