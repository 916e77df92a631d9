//! A command's way through its phases, and what faults do to it on that way.

use nvme_spec::command::AdminOpcode;
use nvme_spec::{CommandId, Cqe, QueueId, Status};

use super::held::Held;
use super::{Answer, Controller, Fetched};
use crate::faults::{CommandFault, Corruption, Phase, REORDER_NS_MAX};

/// What executing a command came to.
pub(super) enum Outcome {
    /// It ends with this.
    Done(Answer),
    /// It completes some other time: an Asynchronous Event Request.
    Kept,
}

impl Controller {
    /// Starts on a command that was fetched just now.
    #[inline]
    pub(super) fn begin(&mut self, command: Fetched) {
        if self.faults.is_armed()
            && let Some(fault) = self.faults.on_command(command.sqid, &command.sqe)
        {
            return self.begin_struck(command, fault);
        }
        if self.options.latency_ns > 0 && !command.sqid.is_admin() {
            return self.hold_for(command, self.options.latency_ns, None);
        }
        self.perform(command);
    }

    /// Executes and completes a command.
    #[inline]
    pub(super) fn perform(&mut self, command: Fetched) {
        if let Some(answer) = self.execute(command) {
            self.finish(command, answer);
        }
    }

    /// Executes a command. `None` if there is nothing to answer (now).
    fn execute(&mut self, command: Fetched) -> Option<Answer> {
        let outcome = if command.sqid.is_admin() {
            self.execute_admin(command)
        } else {
            Outcome::Done(self.execute_nvm(command))
        };
        // For commands that move no data.
        if !self.pass(Phase::BeforeTransfer) || !self.pass(Phase::AfterTransfer) {
            return None;
        }
        match outcome {
            Outcome::Done(answer) => Some(answer),
            Outcome::Kept => None,
        }
    }

    fn hold_for(&mut self, command: Fetched, ns: u64, answer: Option<Answer>) {
        self.hold(command, ns, answer, 0);
    }

    fn hold(&mut self, command: Fetched, ns: u64, answer: Option<Answer>, behind: u32) {
        let Fetched { sqid, sqe } = command;
        self.held.hold(self.now.after_ns(ns), Held { sqid, sqe, answer, behind });
    }

    #[cold]
    fn begin_struck(&mut self, command: Fetched, fault: CommandFault) {
        match fault {
            CommandFault::NeverFetched => {
                if let Some(sq) = self.queues.sq_mut(command.sqid) {
                    sq.hang_before_last();
                }
            }
            CommandFault::Late { ns, executed } => self.delay(command, ns, executed),
            CommandFault::Lost { executed } => self.delay(command, u64::MAX, executed),
            CommandFault::Fail { status, executed } => {
                if !executed || self.execute(command).is_some() {
                    self.finish(command, Err(status));
                }
            }
            CommandFault::Reordered { behind } => {
                if let Some(answer) = self.execute(command) {
                    self.hold(command, REORDER_NS_MAX, Some(answer), behind);
                }
            }
            CommandFault::Corrupt(corruption) => self.corrupt(command, corruption),
            CommandFault::InterruptLost => {
                // What other commands raised before still arrives.
                self.interrupts.flush();
                self.perform(command);
                self.interrupts.lose_pending();
            }
            CommandFault::Ignored if is_abort(command) => self.finish(command, Ok(1)),
            CommandFault::Ignored => self.delay(command, u64::MAX, false),
            CommandFault::Lie(lie) => {
                self.lie = Some(lie);
                self.perform(command);
                self.lie = None;
            }
            CommandFault::Act { action, phase } => {
                self.act = Some((phase, action));
                if self.pass(Phase::Fetched) {
                    self.perform(command);
                    self.pass(Phase::Completed);
                }
                self.act = None;
            }
        }
    }

    /// Holds a command, executed already or not.
    fn delay(&mut self, command: Fetched, ns: u64, executed: bool) {
        if !executed {
            self.hold_for(command, ns, None);
        } else if let Some(answer) = self.execute(command) {
            self.hold_for(command, ns, Some(answer));
        }
    }

    fn corrupt(&mut self, command: Fetched, corruption: Corruption) {
        let Some(answer) = self.execute(command) else { return };
        let (dw0, status) = match answer {
            Ok(dw0) => (dw0, Status::SUCCESS),
            Err(status) => (0, status),
        };
        let sqhd = self.queues.sq(command.sqid).map_or(0, super::queues::SubmissionQueue::head);
        let (sqid, cid) = (command.sqid, command.sqe.cid());
        let cqe = match corruption {
            Corruption::UnknownCid => Cqe::new(sqid, sqhd, CommandId(!cid.0), status),
            Corruption::WrongSqid => Cqe::new(QueueId(!sqid.0), sqhd, cid, status),
            Corruption::Duplicate => Cqe::new(sqid, sqhd, cid, status),
            Corruption::SqheadOutside => Cqe::new(sqid, u16::MAX, cid, status),
        };
        self.post(sqid, cqe.with_dw0(dw0));
        if corruption == Corruption::Duplicate && self.queues.has_room(sqid) {
            self.post(sqid, cqe.with_dw0(dw0));
        }
    }
}

fn is_abort(command: Fetched) -> bool {
    command.sqid.is_admin() && command.sqe.opcode() == AdminOpcode::Abort.raw()
}
