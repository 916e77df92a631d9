//! Asynchronous events (Base 5.1.2) and the log pages that they point to.

use std::sync::atomic::Ordering;

use nvme_spec::async_event::{AsyncEvent, AsyncEventResult};
use nvme_spec::command::{AdminCommand, DwordCount, GetLogPage, LogPageId};
use nvme_spec::log::{ErrorEntry, SmartHealth};
use nvme_spec::{Cqe, Sqe, StatusCode};

use super::Core;
use super::job::Job;
use super::queues::UNNUMBERED;
use super::scan::Scan;
use crate::data_pointer::PAGE_BYTES;
use crate::pci::PciFunction;

/// Bytes that are read of a log page that is only read to clear its event.
const LOG_BYTES: u64 = 512;

impl<F: PciFunction> Core<F> {
    /// An event request was answered: another takes its place, and the log page is read, which clears the event.
    pub(super) fn event_came(&mut self, entry: &Cqe) {
        if !entry.status().is_success() {
            // Asking again at once would loop: the next health check does.
            if entry.status().code() == StatusCode::ASYNC_EVENT_REQUEST_LIMIT_EXCEEDED {
                self.event_requests_max = self.admin.events().max(1);
            }
            tracing::debug!("the controller refused an event request: {}", entry.status());
            return;
        }
        let result = AsyncEventResult::from_dw0(entry.dw0());
        tracing::info!(controller = self.shared.function.name(), event = ?result.event, "the controller reports an event");
        self.ask_for_events();
        if result.event != AsyncEvent::NormalShutdown {
            self.push_job_once(Job::Log(result.log_page));
        }
    }

    /// Events come as often as the controller likes; each log page waits in line once.
    fn push_job_once(&mut self, job: Job) {
        let waits = self.jobs.iter().any(|other| match (other, &job) {
            (Job::Log(a), Job::Log(b)) => a == b,
            (Job::Scan(a), Job::Scan(_)) => *a == Scan::default(),
            _ => false,
        });
        if !waits && !self.shared.is_closing() {
            self.jobs.push_back(job);
        }
    }

    pub(super) fn log_command(&self, lid: LogPageId) -> Sqe {
        let bytes = if lid == LogPageId::CHANGED_NAMESPACES { u64::from(PAGE_BYTES) } else { LOG_BYTES };
        let length = DwordCount::from_bytes(bytes).unwrap_or(DwordCount::from_zero_based(0));
        let command = AdminCommand::GetLogPage(GetLogPage::new(lid, length));
        command.sqe(UNNUMBERED).with_prps(self.memory.data_iova, 0)
    }

    pub(super) fn log_answered(&mut self, lid: LogPageId, entry: &Cqe) {
        let page = if entry.status().is_success() { self.read_page() } else { None };
        match (lid, page) {
            (_, None) => tracing::warn!("the controller refused its log page {lid}: {}", entry.status()),
            (LogPageId::SMART_HEALTH, Some(page)) => self.health_read(&page),
            (LogPageId::ERROR_INFORMATION, Some(page)) => {
                if let Ok(error) = ErrorEntry::from_bytes(&page) {
                    tracing::warn!(
                        controller = self.shared.function.name(),
                        ?error,
                        "the newest entry of the error log"
                    );
                }
            }
            (_, Some(_)) => {}
        }
        // What changed is found by looking, so that neither a refused nor a full list loses a change.
        if lid == LogPageId::CHANGED_NAMESPACES {
            self.push_job_once(Job::Scan(Scan::default()));
        }
    }

    fn health_read(&self, page: &[u8]) {
        let Ok(health) = SmartHealth::from_bytes(page) else { return };
        let warning = health.critical_warning.bits();
        if self.shared.critical_warning.swap(warning, Ordering::Relaxed) != warning {
            tracing::warn!(controller = self.shared.function.name(), warning = ?health.critical_warning, "health");
            self.wake_queues();
        }
    }
}
