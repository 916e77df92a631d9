//! The association with a controller, from nothing to live and back.

use std::collections::VecDeque;

use block::{Incarnation, Timestamp};
use nvme_spec::{Cqe, QueueId};

use super::admin::Job;
use super::event::{Association, HostAction, HostEvent};
use super::failure::Failure;
use super::info::ControllerInfo;
use super::link::{IoProgress, Link};
use super::namespace::NamespaceMap;
use super::options::{HostOptions, OptionsError};
use super::reconnect::Attempts;
use super::setup::Step;
use crate::wire::rdma::RejectStatus;

/// How far the association is.
///
/// ```text
///  Idle --start--> ConnectingAdmin -> ReadingProperties -> Enabling -> Identifying -> SettingFeatures
///                    ^                                                                  |        | discovery
///                    |                                                               Scanning    |
///                    |                                                                  |        v
///                    |                                                             ConnectingIo -> Live
///                  time                                                                            |
///                    |          any of these, ConnectingAdmin to Live                           shutdown
///                    |                        |                                                    v
///                    |        lost, refused, silent, reset, shutdown                         ShuttingDown
///                    |                        v                                                    |
///                 Waiting <--may try again-- Disconnecting <----------done, lost, out of time------+
///                    |                        |
///                    +--given up--> Dead <----+ DNR, unusable, given up, shutdown
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HostState {
    /// Not begun.
    Idle,
    /// The admin queue's connection is being opened, or its Connect has no answer.
    ConnectingAdmin,
    /// CAP is read, CC written without EN, CAP and CRTO are read.
    ReadingProperties,
    /// CC was written with EN; CSTS.RDY is waited for.
    Enabling,
    /// The controller says what it is.
    Identifying,
    /// Events and queues are agreed.
    SettingFeatures,
    /// Namespaces are read.
    Scanning,
    /// I/O queues are connected.
    ConnectingIo,
    /// There is an association.
    Live,
    /// CC.SHN was written; CSTS.SHST is waited for.
    ShuttingDown,
    /// All connections are being ended.
    Disconnecting,
    /// A pause before the next attempt.
    Waiting,
    /// Given up for good.
    Dead,
}

impl HostState {
    /// Whether there is an association, or the beginning of one.
    #[must_use]
    pub const fn has_association(self) -> bool {
        !matches!(self, Self::Idle | Self::Disconnecting | Self::Waiting | Self::Dead)
    }

    /// Whether the drawing has an arrow, or a further step of the same state.
    const fn may_become(self, next: Self) -> bool {
        use HostState as S;
        match next {
            S::Idle => false,
            S::ConnectingAdmin => matches!(self, S::Idle | S::Waiting | S::ConnectingAdmin),
            S::ReadingProperties => matches!(self, S::ConnectingAdmin | S::ReadingProperties),
            S::Enabling => matches!(self, S::ReadingProperties | S::Enabling),
            S::Identifying => matches!(self, S::Enabling | S::Identifying),
            S::SettingFeatures => matches!(self, S::Identifying | S::SettingFeatures),
            S::Scanning => matches!(self, S::SettingFeatures),
            S::ConnectingIo => matches!(self, S::Scanning),
            S::Live => matches!(self, S::ConnectingIo | S::Identifying | S::SettingFeatures),
            S::ShuttingDown => matches!(self, S::Live),
            S::Disconnecting => self.has_association(),
            S::Waiting => matches!(self, S::Disconnecting),
            S::Dead => matches!(self, S::Idle | S::Disconnecting | S::Waiting),
        }
    }
}

/// The host's side of one controller.
///
/// The owner carries out [`Self::poll_action`]s in their order, tells what happened by the `handle_` methods, and calls
/// [`Self::handle_timeout`] when [`Self::next_timeout`] has come, with everything that has arrived until then told before: time
/// that the owner slept must not count against the controller. After each call it empties actions and events.
#[derive(Debug)]
pub struct HostController {
    pub(super) options: HostOptions,
    state: HostState,
    pub(super) association: Association,
    pub(super) incarnation: Incarnation,
    pub(super) attempts: Attempts,
    pub(super) link: Link,
    /// Why the association that is being ended is.
    ended: Option<Failure>,
    /// Whether the association that is being ended was live.
    was_live: bool,
    /// When the next attempt begins.
    retry_at: Timestamp,
    pub(super) namespaces: NamespaceMap,
    pub(super) actions: VecDeque<HostAction>,
    pub(super) events: VecDeque<HostEvent>,
    pub(super) next_ticket: u64,
}

impl HostController {
    /// A controller to be; [`Self::start`] begins.
    pub fn new(options: HostOptions) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            options,
            state: HostState::Idle,
            association: Association::default(),
            incarnation: Incarnation::default(),
            attempts: Attempts::default(),
            link: Link::new(),
            ended: None,
            was_live: false,
            retry_at: Timestamp::NEVER,
            namespaces: NamespaceMap::new(),
            actions: VecDeque::new(),
            events: VecDeque::new(),
            next_ticket: 0,
        })
    }

    /// How far the association is.
    #[must_use]
    pub const fn state(&self) -> HostState {
        self.state
    }

    /// The newest association, attempts included.
    #[must_use]
    pub const fn association(&self) -> Association {
        self.association
    }

    /// How it is to be made.
    #[must_use]
    pub const fn options(&self) -> &HostOptions {
        &self.options
    }

    /// What the controller says of itself, while there is an association.
    #[must_use]
    pub fn info(&self) -> Option<&ControllerInfo> {
        self.link.info.as_deref()
    }

    /// The namespaces as they were found last; they stay while an association is gone.
    #[must_use]
    pub const fn namespaces(&self) -> &NamespaceMap {
        &self.namespaces
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<HostAction> {
        self.actions.pop_front()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<HostEvent> {
        self.events.pop_front()
    }

    /// Begins. Once.
    pub fn start(&mut self, now: Timestamp) {
        if self.state == HostState::Idle {
            self.attempts.begin(now);
            self.attempt(now);
        }
    }

    /// Ends the association and makes a new one.
    pub fn reset(&mut self, now: Timestamp) {
        self.end(Failure::Reset, now);
    }

    /// Ends for good. A live controller is told first (CC.SHN), so that it makes durable what it holds; the owner has let its
    /// commands end before.
    pub fn shutdown(&mut self, now: Timestamp) {
        match self.state {
            HostState::Live => self.begin_shutdown(now),
            HostState::Idle | HostState::Waiting => self.die(Failure::Shutdown),
            HostState::Disconnecting => self.ended = Some(Failure::Shutdown),
            HostState::ShuttingDown | HostState::Dead => {}
            _ => self.end(Failure::Shutdown, now),
        }
    }

    /// A queue has its connection.
    pub fn handle_queue_connected(&mut self, association: Association, queue: QueueId, now: Timestamp) {
        if !self.is_current(association) {
            return;
        }
        if !queue.is_admin() {
            self.connect_io_queue(queue, now);
        } else if self.link.open_due != Timestamp::NEVER {
            self.link.open_due = Timestamp::NEVER;
            self.step(Step::Connect, now);
        }
    }

    /// A queue gets no connection; `status` if the controller said why.
    pub fn handle_queue_refused(
        &mut self,
        association: Association,
        queue: QueueId,
        status: Option<RejectStatus>,
        now: Timestamp,
    ) {
        let failure = match status {
            Some(status) => Failure::Rejected { queue, status },
            None => Failure::NoConnection(queue),
        };
        self.fail(association, failure, now);
    }

    /// A queue's connection is gone.
    pub fn handle_queue_lost(&mut self, association: Association, queue: QueueId, now: Timestamp) {
        self.fail(association, Failure::ConnectionLost(queue), now);
    }

    /// A queue's owner found that the association cannot go on: [`Failure::Stalled`], [`Failure::Protocol`].
    pub fn fail(&mut self, association: Association, failure: Failure, now: Timestamp) {
        if self.is_current(association) {
            self.end(failure, now);
        }
    }

    /// A command of [`HostAction::Send`] was answered; `data` is what the controller wrote.
    pub fn handle_response(
        &mut self,
        association: Association,
        queue: QueueId,
        cqe: &Cqe,
        data: &[u8],
        now: Timestamp,
    ) {
        if !self.is_current(association) {
            return;
        }
        if queue.is_admin() {
            self.admin_answered(cqe, data, now);
        } else {
            self.io_connect_answered(queue, cqe, now);
        }
    }

    /// All connections of the association are gone, and nothing touches its commands' memory any more.
    pub fn handle_disconnected(&mut self, association: Association, now: Timestamp) {
        if association != self.association || self.state != HostState::Disconnecting {
            return;
        }
        let why = self.ended.take().unwrap_or(Failure::Reset);
        let never_live = self.incarnation == Incarnation::default();
        if why.is_final() || (never_live && !self.options.reconnect.retry_first) {
            self.die(why);
        } else if now >= self.give_up_at() {
            self.die(Failure::LossTimeout);
        } else {
            self.wait(why, now);
        }
    }

    /// When [`Self::handle_timeout`] is to be called.
    #[must_use]
    pub fn next_timeout(&self) -> Timestamp {
        match self.state {
            HostState::Idle | HostState::Dead | HostState::Disconnecting => Timestamp::NEVER,
            HostState::Waiting => self.retry_at.min(self.give_up_at()),
            HostState::Live => self.link.next_timeout(),
            HostState::ShuttingDown => self.link.next_timeout().min(self.link.patience),
            _ => self.link.next_timeout().min(self.give_up_at()),
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match self.state {
            HostState::Idle | HostState::Dead | HostState::Disconnecting => {}
            HostState::Waiting if now >= self.give_up_at() => self.die(Failure::LossTimeout),
            HostState::Waiting if now >= self.retry_at => self.attempt(now),
            HostState::Waiting => {}
            HostState::Live => self.association_timeout(now),
            HostState::ShuttingDown if now >= self.link.patience => self.end(Failure::Shutdown, now),
            HostState::ShuttingDown => self.association_timeout(now),
            _ if now >= self.give_up_at() => self.end(Failure::LossTimeout, now),
            _ => self.association_timeout(now),
        }
    }

    fn association_timeout(&mut self, now: Timestamp) {
        if let Some(failure) = self.overdue(now) {
            self.end(failure, now);
            return;
        }
        self.keep_alive_due(now);
        if now >= self.link.look_at {
            self.link.look_at = Timestamp::NEVER;
            if self.state == HostState::ShuttingDown {
                self.look_at_shutdown(now);
            } else {
                self.step(Step::Status, now);
            }
        }
    }

    /// What should have been answered by now.
    fn overdue(&self, now: Timestamp) -> Option<Failure> {
        if now >= self.link.open_due {
            return Some(Failure::NoConnection(QueueId::ADMIN));
        }
        if let Some((.., command)) = self.link.admin.iter().find(|(.., command)| now >= command.due) {
            return Some(command.job.silent());
        }
        let queue = self.link.io.iter().find(|queue| now >= queue.due)?;
        Some(match queue.progress {
            IoProgress::Opening => Failure::NoConnection(queue.parameters.queue),
            _ => Failure::Silent("Connect"),
        })
    }

    fn is_current(&self, association: Association) -> bool {
        association == self.association && self.state.has_association()
    }

    fn give_up_at(&self) -> Timestamp {
        self.attempts.give_up_at(&self.options.reconnect)
    }

    pub(super) fn enter(&mut self, state: HostState) {
        debug_assert!(self.state.may_become(state), "{:?} does not become {state:?}", self.state);
        self.state = state;
    }

    /// Ends the association, if there is one.
    pub(super) fn end(&mut self, why: Failure, now: Timestamp) {
        if !self.state.has_association() {
            return;
        }
        let why = if self.state == HostState::ShuttingDown { Failure::Shutdown } else { why };
        self.was_live = matches!(self.state, HostState::Live | HostState::ShuttingDown);
        for (_, command) in self.link.admin.release_all() {
            if let Job::Passthrough(ticket) = command.job {
                self.events.push_back(HostEvent::AdminLost { ticket });
            }
        }
        if self.was_live {
            self.events.push_back(HostEvent::Lost { association: self.association, why });
        }
        self.attempts.begin(now);
        self.ended = Some(why);
        self.link = Link::new();
        self.enter(HostState::Disconnecting);
        // What was not yet sent or opened need not be.
        self.actions.clear();
        self.actions.push_back(HostAction::Disconnect { association: self.association });
    }

    fn wait(&mut self, why: Failure, now: Timestamp) {
        self.enter(HostState::Waiting);
        let pause = self.attempts.next_pause(&self.options.reconnect, self.seed());
        self.retry_at = now.after(pause);
        if !self.was_live {
            let failed = self.attempts.failed();
            self.events.push_back(HostEvent::AttemptFailed { why, failed, next: self.retry_at });
        }
    }

    fn die(&mut self, why: Failure) {
        self.enter(HostState::Dead);
        self.namespaces.clear();
        self.events.push_back(HostEvent::Dead(why));
    }

    /// Another for each host.
    fn seed(&self) -> u64 {
        let id = u128::from_le_bytes(self.options.host.id.0);
        u64::try_from(id % u128::from(u64::MAX)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
