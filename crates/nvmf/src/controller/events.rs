//! Asynchronous events of a controller (Base, Asynchronous Event Request).

use std::collections::{BTreeSet, VecDeque};

use nvme_spec::async_event::{AsyncEvent, AsyncEventResult, AsyncEvents};
use nvme_spec::command::LogPageId;
use nvme_spec::{CommandId, Nsid, Status, StatusCode};

use super::limits::ASYNC_EVENT_REQUESTS_MAX;

/// What a host is told without having asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Namespaces came, went or changed.
    Namespaces,
    /// The discovery log has other entries.
    Discovery,
}

impl Notice {
    const fn enabled_by(self) -> AsyncEvents {
        match self {
            Self::Namespaces => AsyncEvents::NAMESPACE_ATTRIBUTE,
            Self::Discovery => AsyncEvents::DISCOVERY_LOG_CHANGE,
        }
    }

    const fn log_page(self) -> LogPageId {
        match self {
            Self::Namespaces => LogPageId::CHANGED_NAMESPACES,
            Self::Discovery => LogPageId::DISCOVERY,
        }
    }

    fn result(self) -> u32 {
        let event = match self {
            Self::Namespaces => AsyncEvent::NamespaceAttributeChanged,
            Self::Discovery => AsyncEvent::DiscoveryLogChange,
        };
        AsyncEventResult { event, log_page: self.log_page() }.to_dw0()
    }
}

/// A controller's requests and its one event: an I/O controller tells of namespaces, a discovery controller of its log.
///
/// ```text
///            it happened               a request is there
///   Quiet -----------------> Pending ---------------------> Masked
///     ^                        |                               |
///     +------------------------+---- the log page was read ----+
/// ```
#[derive(Debug)]
pub(super) struct Events {
    notice: Notice,
    state: NoticeState,
    enabled: AsyncEvents,
    held: VecDeque<CommandId>,
    changed: BTreeSet<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoticeState {
    Quiet,
    Pending,
    Masked,
}

impl Events {
    pub(super) fn new(notice: Notice) -> Self {
        Self {
            notice,
            state: NoticeState::Quiet,
            enabled: AsyncEvents::empty(),
            held: VecDeque::new(),
            changed: BTreeSet::new(),
        }
    }

    /// What can be asked for (OAES).
    pub(super) const fn supported(&self) -> AsyncEvents {
        self.notice.enabled_by()
    }

    /// Feature 0Bh.
    pub(super) const fn enabled(&self) -> AsyncEvents {
        self.enabled
    }

    /// Sets feature 0Bh. Bits of events that never come are kept as they are: they do no harm.
    pub(super) fn enable(&mut self, events: AsyncEvents) {
        self.enabled = events;
    }

    /// Takes a request, which is answered when there is something to tell.
    pub(super) fn hold(&mut self, cid: CommandId) -> Result<(), Status> {
        if self.held.len() >= usize::from(ASYNC_EVENT_REQUESTS_MAX) {
            return Err(Status::permanent(StatusCode::ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED));
        }
        self.held.push_back(cid);
        Ok(())
    }

    /// A reset: requests end without an answer, and what was enabled or told is forgotten. Says how many there were.
    pub(super) fn reset(&mut self) -> u16 {
        let held = u16::try_from(self.held.len()).unwrap_or(u16::MAX);
        *self = Self::new(self.notice);
        held
    }

    /// A namespace came, went or changed.
    pub(super) fn namespace_changed(&mut self, nsid: Nsid) {
        self.changed.insert(nsid.0);
        self.happened();
    }

    /// The event happened.
    pub(super) fn happened(&mut self) {
        if self.state == NoticeState::Quiet && self.enabled.contains(self.notice.enabled_by()) {
            self.state = NoticeState::Pending;
        }
    }

    /// The request to answer now, and its dword 0.
    pub(super) fn poll(&mut self) -> Option<(CommandId, u32)> {
        if self.state != NoticeState::Pending {
            return None;
        }
        let cid = self.held.pop_front()?;
        self.state = NoticeState::Masked;
        Some((cid, self.notice.result()))
    }

    /// The namespaces that changed, in order.
    pub(super) fn changed(&self) -> impl Iterator<Item = Nsid> {
        self.changed.iter().copied().map(Nsid)
    }

    /// A log page was read without RAE: its event may come again.
    pub(super) fn page_read(&mut self, page: LogPageId) {
        if page == self.notice.log_page() {
            self.state = NoticeState::Quiet;
            self.changed.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enabled() -> Events {
        let mut events = Events::new(Notice::Namespaces);
        events.enable(AsyncEvents::NAMESPACE_ATTRIBUTE);
        events
    }

    #[test]
    fn an_event_is_told_once_until_its_page_was_read() {
        let mut events = enabled();
        events.namespace_changed(Nsid(3));
        assert_eq!(events.poll(), None, "no request");
        events.hold(CommandId(0xf001)).unwrap();
        events.hold(CommandId(0xf002)).unwrap();
        // Type 2 (notice), information 0, log page 4.
        assert_eq!(events.poll(), Some((CommandId(0xf001), 0x0004_0002)));
        events.namespace_changed(Nsid(1));
        assert_eq!(events.poll(), None, "masked");
        assert_eq!(events.changed().collect::<Vec<_>>(), [Nsid(1), Nsid(3)]);
        events.page_read(LogPageId::SMART_HEALTH);
        assert_eq!(events.changed().count(), 2);
        events.page_read(LogPageId::CHANGED_NAMESPACES);
        assert_eq!((events.poll(), events.changed().count()), (None, 0));
        events.namespace_changed(Nsid(2));
        assert_eq!(events.poll(), Some((CommandId(0xf002), 0x0004_0002)));
    }

    #[test]
    fn discovery_changes_are_notices_f0h_of_page_70h() {
        let mut events = Events::new(Notice::Discovery);
        events.hold(CommandId(1)).unwrap();
        events.happened();
        assert_eq!(events.poll(), None, "not asked for");
        events.enable(events.supported());
        events.happened();
        assert_eq!(events.poll(), Some((CommandId(1), 0x0070_f002)));
    }

    #[test]
    fn requests_are_limited_and_end_with_a_reset() {
        let mut events = enabled();
        for cid in 0..u16::from(ASYNC_EVENT_REQUESTS_MAX) {
            assert_eq!(events.hold(CommandId(cid)), Ok(()));
        }
        let limit = Status::permanent(StatusCode::ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED);
        assert_eq!(events.hold(CommandId(9)), Err(limit));
        assert_eq!(events.reset(), 4);
        assert_eq!(events.enabled(), AsyncEvents::empty());
    }
}
