//! Admin commands: what they are for, and what becomes of their answers.

use block::Timestamp;
use nvme_spec::async_event::{AsyncEvent, AsyncEventResult};
use nvme_spec::command::{AdminCommand, DwordCount, GetLogPage, LogPageId};
use nvme_spec::{CommandId, Cqe, QueueId, Sqe};

use super::controller::{HostController, HostState};
use super::event::{HostAction, HostEvent};
use super::failure::Failure;
use super::outgoing::{Outgoing, OutgoingData};
use super::setup::Step;

/// Most commands of [`HostController::admin`] in flight.
pub const PASSTHROUGH_MAX: usize = 16;
/// An entry that gets its identifier later.
pub(super) const UNNUMBERED: CommandId = CommandId(0);

/// Names a command of [`HostController::admin`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdminTicket(pub(super) u64);

/// What an admin command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    Setup(Step),
    KeepAlive,
    AsyncEvent,
    /// Reads log page 04h, which arms the event of namespaces again.
    ChangedNamespaces,
    /// Reads the log page of an event that we do nothing about, which arms it again.
    Rearm,
    Scan,
    Discovery,
    Shutdown,
    ShutdownStatus,
    Passthrough(AdminTicket),
}

impl Job {
    const fn name(self) -> &'static str {
        match self {
            Self::Setup(step) => step.name(),
            Self::KeepAlive => "Keep Alive",
            Self::AsyncEvent => "Asynchronous Event Request",
            Self::ChangedNamespaces | Self::Rearm | Self::Discovery => "Get Log Page",
            Self::Scan => "Identify",
            Self::Shutdown => "Property Set",
            Self::ShutdownStatus => "Property Get",
            Self::Passthrough(_) => "an admin command",
        }
    }

    /// What it means that it had no answer in time.
    pub(super) const fn silent(self) -> Failure {
        match self {
            Self::KeepAlive => Failure::KeepAlive,
            other => Failure::Silent(other.name()),
        }
    }
}

/// An admin command without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub(super) job: Job,
    pub(super) due: Timestamp,
}

impl HostController {
    /// Sends an admin command of the caller's; its identifier is replaced. Answered by [`HostEvent::AdminAnswered`] or
    /// [`HostEvent::AdminLost`]. `None` if there is no association, or too many such commands are in flight.
    ///
    /// Commands that change what this controller object lives by (Connect, properties, queues, events) must not be sent.
    pub fn admin(&mut self, sqe: Sqe, data: OutgoingData, now: Timestamp) -> Option<AdminTicket> {
        let passing = |command: &InFlight| matches!(command.job, Job::Passthrough(_));
        let in_flight = self.link.admin.iter().filter(|(.., command)| passing(command)).count();
        if self.state() != HostState::Live || in_flight >= PASSTHROUGH_MAX {
            return None;
        }
        let ticket = AdminTicket(self.next_ticket);
        self.next_ticket += 1;
        self.send(Job::Passthrough(ticket), sqe, data, now);
        Some(ticket)
    }

    /// Sends an admin command on the admin queue.
    pub(super) fn send(&mut self, job: Job, sqe: Sqe, data: OutgoingData, now: Timestamp) {
        let due = match job {
            Job::AsyncEvent => Timestamp::NEVER,
            Job::KeepAlive => now.after(self.options.keep_alive),
            _ => now.after(self.options.admin_timeout),
        };
        // One setup step, keep-alive, event, scan, log and shutdown each, and the passed ones: fewer than there are slots.
        let Ok((_, cid)) = self.link.admin.occupy(InFlight { job, due }) else {
            unreachable!("admin commands are bounded by what they are for");
        };
        let command = Outgoing::new(sqe.with_cid(cid), data);
        let association = self.association;
        self.actions.push_back(HostAction::Send { association, queue: QueueId::ADMIN, command });
    }

    /// Takes the response to an admin command.
    pub(super) fn admin_answered(&mut self, cqe: &Cqe, data: &[u8], now: Timestamp) {
        let Some((_, command)) = self.link.admin.release(cqe.cid()) else {
            self.end(Failure::Protocol(QueueId::ADMIN), now);
            return;
        };
        let result = match command.job {
            Job::Setup(step) => self.step_answered(step, cqe, data, now),
            Job::KeepAlive => self.keep_alive_answered(cqe),
            Job::AsyncEvent => {
                self.event_answered(cqe, now);
                Ok(())
            }
            Job::ChangedNamespaces => {
                self.scan_again(now);
                Ok(())
            }
            Job::Rearm => Ok(()),
            Job::Scan => self.scan_answered(cqe.status(), data, now),
            Job::Discovery => {
                self.discovery_answered(cqe.status(), data, now);
                Ok(())
            }
            Job::Shutdown => self.shutdown_asked(cqe.status(), now),
            Job::ShutdownStatus => self.shutdown_status(cqe, now),
            Job::Passthrough(ticket) => {
                self.events.push_back(HostEvent::AdminAnswered { ticket, cqe: *cqe, data: data.to_vec() });
                Ok(())
            }
        };
        if let Err(failure) = result {
            self.end(failure, now);
        }
    }

    /// Keeps the association alive from now on: a keep-alive each half of the timeout, whatever other commands there are. A
    /// controller may let any command count (CTRATT.TBKAS); that is no reason to be silent.
    pub(super) fn schedule_keep_alive(&mut self, now: Timestamp) {
        if !self.options.keep_alive.is_zero() {
            self.link.keep_alive_at = now.after(self.options.keep_alive / 2);
        }
    }

    /// Sends a keep-alive if its time has come. The next is counted from here, so that slow answers make no gaps.
    pub(super) fn keep_alive_due(&mut self, now: Timestamp) {
        if now < self.link.keep_alive_at {
            return;
        }
        self.schedule_keep_alive(now);
        let waiting = self.link.admin.iter().any(|(.., command)| command.job == Job::KeepAlive);
        if !waiting {
            self.send(Job::KeepAlive, AdminCommand::KeepAlive.sqe(UNNUMBERED), OutgoingData::None, now);
        }
    }

    fn keep_alive_answered(&self, cqe: &Cqe) -> Result<(), Failure> {
        if cqe.status().is_success() { Ok(()) } else { Err(Failure::KeepAlive) }
    }

    /// Asks for the next event.
    pub(super) fn ask_for_events(&mut self, now: Timestamp) {
        let sqe = AdminCommand::AsyncEventRequest.sqe(UNNUMBERED);
        self.send(Job::AsyncEvent, sqe, OutgoingData::None, now);
    }

    /// Something happened. The next event is asked for at once; this one is masked until its log page is read. A refusal is no
    /// event, and would come again at once: nothing is asked for any more then.
    fn event_answered(&mut self, cqe: &Cqe, now: Timestamp) {
        if !cqe.status().is_success() {
            return;
        }
        self.ask_for_events(now);
        let result = AsyncEventResult::from_dw0(cqe.dw0());
        match result.event {
            AsyncEvent::NamespaceAttributeChanged => {
                self.read_log(Job::ChangedNamespaces, LogPageId::CHANGED_NAMESPACES, 4096, now);
            }
            AsyncEvent::DiscoveryLogChange => self.discover(now),
            AsyncEvent::InvalidDoorbellRegister | AsyncEvent::InvalidDoorbellValue => {
                self.read_log(Job::Rearm, LogPageId::ERROR_INFORMATION, 64, now);
            }
            _ if result.log_page == LogPageId::SMART_HEALTH => {
                self.read_log(Job::Rearm, LogPageId::SMART_HEALTH, 512, now);
            }
            _ => {}
        }
    }

    /// Reads a log page for one of our own jobs, unless that is being done.
    fn read_log(&mut self, job: Job, lid: LogPageId, bytes: u32, now: Timestamp) {
        let waiting = self.link.admin.iter().any(|(.., command)| command.job == job);
        let Some(length) = DwordCount::from_bytes(bytes.into()).filter(|_| !waiting) else { return };
        let sqe = AdminCommand::GetLogPage(GetLogPage::new(lid, length)).sqe(UNNUMBERED);
        self.send(job, sqe, OutgoingData::FromController { bytes }, now);
    }
}
