//! Asynchronous events (Base 5.1.2): held requests, pending events, and masks until the log page is read.

use std::collections::VecDeque;

use nvme_spec::async_event::{AsyncEvent, AsyncEventResult, AsyncEvents as Configured};
use nvme_spec::command::LogPageId;
use nvme_spec::{CommandId, Cqe, QueueId, Status, StatusCode};

use super::Controller;

/// What the model reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    InvalidDoorbellRegister,
    InvalidDoorbellValue,
    SmartReliability,
    SmartTemperature,
    SmartSpare,
    NamespaceAttributeChanged,
    ReservationLogAvailable,
}

/// Event types; an event that was reported masks its type until its log page is read.
const TYPES: usize = 8;

/// All events, in the order in which pending ones are reported.
const ALL: [Event; 7] = [
    Event::InvalidDoorbellRegister,
    Event::InvalidDoorbellValue,
    Event::SmartReliability,
    Event::SmartTemperature,
    Event::SmartSpare,
    Event::NamespaceAttributeChanged,
    Event::ReservationLogAvailable,
];

impl Event {
    fn result(self) -> AsyncEventResult {
        let (event, log_page) = match self {
            Self::InvalidDoorbellRegister => {
                (AsyncEvent::InvalidDoorbellRegister, LogPageId::ERROR_INFORMATION)
            }
            Self::InvalidDoorbellValue => (AsyncEvent::InvalidDoorbellValue, LogPageId::ERROR_INFORMATION),
            Self::SmartReliability => (AsyncEvent::SmartReliability, LogPageId::SMART_HEALTH),
            Self::SmartTemperature => (AsyncEvent::SmartTemperature, LogPageId::SMART_HEALTH),
            Self::SmartSpare => (AsyncEvent::SmartSpare, LogPageId::SMART_HEALTH),
            Self::NamespaceAttributeChanged => {
                (AsyncEvent::NamespaceAttributeChanged, LogPageId::CHANGED_NAMESPACES)
            }
            Self::ReservationLogAvailable => {
                (AsyncEvent::ReservationLogAvailable, LogPageId::RESERVATION_NOTIFICATION)
            }
        };
        AsyncEventResult { event, log_page }
    }

    /// The Asynchronous Event Type.
    fn kind(self) -> usize {
        match self {
            Self::InvalidDoorbellRegister | Self::InvalidDoorbellValue => 0,
            Self::SmartReliability | Self::SmartTemperature | Self::SmartSpare => 1,
            Self::NamespaceAttributeChanged => 2,
            Self::ReservationLogAvailable => 6,
        }
    }

    /// Whether the host asked for it (feature 0Bh). Errors and reservations are always reported.
    fn is_wanted(self, configured: Configured) -> bool {
        match self {
            Self::SmartSpare => configured.contains(Configured::SMART_SPARE),
            Self::SmartTemperature => configured.contains(Configured::SMART_TEMPERATURE),
            // Read-only media are reported as a matter of reliability: there is no event of their own.
            Self::SmartReliability => {
                configured.intersects(Configured::SMART_RELIABILITY | Configured::SMART_READ_ONLY)
            }
            Self::NamespaceAttributeChanged => configured.contains(Configured::NAMESPACE_ATTRIBUTE),
            Self::InvalidDoorbellRegister | Self::InvalidDoorbellValue | Self::ReservationLogAvailable => {
                true
            }
        }
    }
}

/// Requests and events.
#[derive(Debug, Default)]
pub(super) struct AsyncEvents {
    requests: VecDeque<CommandId>,
    pending: [bool; ALL.len()],
    masked_by: [Option<LogPageId>; TYPES],
}

impl AsyncEvents {
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    fn take_reportable(&mut self) -> Option<Event> {
        let reportable =
            |event: &Event| self.pending[*event as usize] && self.masked_by[event.kind()].is_none();
        let event = ALL.into_iter().find(reportable)?;
        self.pending[event as usize] = false;
        self.masked_by[event.kind()] = Some(event.result().log_page);
        Some(event)
    }

    /// Forgets a request that is aborted. Returns whether there was one.
    pub(super) fn drop_request(&mut self, cid: CommandId) -> bool {
        let place = self.requests.iter().position(|request| *request == cid);
        place.and_then(|place| self.requests.remove(place)).is_some()
    }

    /// The host has read a log page without retaining events.
    pub(super) fn log_was_read(&mut self, page: LogPageId) {
        for masked in self.masked_by.iter_mut().filter(|masked| **masked == Some(page)) {
            *masked = None;
        }
    }
}

impl Controller {
    /// Asynchronous Event Request.
    pub(super) fn keep_event_request(&mut self, cid: CommandId) -> Result<(), Status> {
        if self.events.requests.len() >= usize::from(self.options.async_events_max) {
            return Err(Status::permanent(StatusCode::ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED));
        }
        self.events.requests.push_back(cid);
        Ok(())
    }

    /// Something happened. It is told when there is a request and its type is not masked.
    pub(super) fn raise_event(&mut self, event: Event) {
        if event.is_wanted(self.features.async_events()) {
            self.events.pending[event as usize] = true;
        }
    }

    /// Completes requests with pending events.
    pub(super) fn report_events(&mut self) {
        while !self.events.requests.is_empty() && self.queues.has_room(QueueId::ADMIN) {
            let Some(event) = self.events.take_reportable() else { return };
            let Some(cid) = self.events.requests.pop_front() else { return };
            let sqhd = self.queues.sq(QueueId::ADMIN).map_or(0, super::queues::SubmissionQueue::head);
            let cqe = Cqe::new(QueueId::ADMIN, sqhd, cid, Status::SUCCESS);
            self.post(QueueId::ADMIN, cqe.with_dw0(event.result().to_dw0()));
        }
    }
}
