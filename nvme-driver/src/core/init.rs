//! From CSTS.RDY to live: Identify, queue count, shadow doorbells, events, namespaces.

use block::Timestamp;
use nvme_spec::async_event::AsyncEvents;
use nvme_spec::command::{AdminCommand, Cns, FeatureId, Identify, SetFeatures};
use nvme_spec::features::{NumberOfQueues, QueueCount};
use nvme_spec::identify::{AdminCommands, IdentifyController, NvmController};
use nvme_spec::registers::{Doorbell, Register, Version};
use nvme_spec::{Cqe, Nsid, QueueId, Sqe};

use super::Core;
use super::admin_queue::Purpose;
use super::job::Job;
use super::queues::UNNUMBERED;
use super::scan::Scan;
use crate::data_pointer::PAGE_BYTES;
use crate::identity::ControllerInfo;
use crate::pci::PciFunction;
use crate::ring::doorbells_end;
use crate::shared::{ControllerLimits, ResetReason};

/// Most event requests that are kept with the controller; it may take fewer.
pub(super) const EVENT_REQUESTS_MAX: usize = 4;

/// The steps, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InitStep {
    IdentifyController,
    /// Limits of the NVM command set; controllers of version 2.0 and later may have them.
    CommandSetLimits,
    NumberOfQueues,
    ShadowDoorbells,
    EventConfiguration,
}

impl InitStep {
    pub(super) const FIRST: Self = Self::IdentifyController;

    fn next(self) -> Option<Self> {
        match self {
            Self::IdentifyController => Some(Self::CommandSetLimits),
            Self::CommandSetLimits => Some(Self::NumberOfQueues),
            Self::NumberOfQueues => Some(Self::ShadowDoorbells),
            Self::ShadowDoorbells => Some(Self::EventConfiguration),
            Self::EventConfiguration => None,
        }
    }

    /// What the controller must do for us to go on; `None` for what it may refuse.
    fn required(self) -> Option<&'static str> {
        match self {
            Self::IdentifyController => Some("identify itself"),
            Self::NumberOfQueues => Some("grant I/O queues"),
            Self::CommandSetLimits | Self::ShadowDoorbells | Self::EventConfiguration => None,
        }
    }
}

impl<F: PciFunction> Core<F> {
    pub(super) fn init_command(&self, step: InitStep) -> Option<Sqe> {
        let command = match step {
            InitStep::IdentifyController => {
                AdminCommand::Identify(Identify::new(Cns::CONTROLLER, Nsid::NONE))
            }
            InitStep::CommandSetLimits if self.is_at_least(Version::V2_0) => {
                AdminCommand::Identify(Identify::new(Cns::COMMAND_SET_CONTROLLER, Nsid::NONE))
            }
            InitStep::NumberOfQueues => {
                let queues = QueueCount::new(self.shared.options.io_queues)?;
                let number = NumberOfQueues { submission: queues, completion: queues };
                AdminCommand::SetFeatures(SetFeatures::value(FeatureId::NUMBER_OF_QUEUES, number.raw()))
            }
            InitStep::ShadowDoorbells if self.wants_shadow_doorbells() => {
                let (shadow, event_idx) = self.memory.shadow_iovas;
                return Some(AdminCommand::DoorbellBufferConfig { shadow, event_idx }.sqe(UNNUMBERED));
            }
            InitStep::EventConfiguration => {
                let wanted = self.wanted_events().bits();
                AdminCommand::SetFeatures(SetFeatures::value(FeatureId::ASYNC_EVENT_CONFIGURATION, wanted))
            }
            InitStep::CommandSetLimits | InitStep::ShadowDoorbells => return None,
        };
        Some(command.sqe(UNNUMBERED).with_prps(self.memory.data_iova, 0))
    }

    fn is_at_least(&self, version: Version) -> bool {
        self.info.as_ref().is_some_and(|info| info.version.raw() >= version.raw())
    }

    fn wants_shadow_doorbells(&self) -> bool {
        let offered =
            |info: &ControllerInfo| info.identify.oacs.contains(AdminCommands::DOORBELL_BUFFER_CONFIG);
        self.shared.options.shadow_doorbells
            && self.shadow_page_suffices()
            && self.info.as_ref().is_some_and(offered)
    }

    /// The controller looks for every queue's doorbells there, also beyond the one page that it was given.
    fn shadow_page_suffices(&self) -> bool {
        let last = self.shared.directory().limits.as_ref().map_or(1, |limits| limits.io_queues);
        let end = self.capabilities.dstrd().offset_in_array(QueueId(last), Doorbell::CqHead) + 4;
        end <= u64::from(PAGE_BYTES)
    }

    /// The health warnings that every controller has, and of the optional events those that we act upon.
    fn wanted_events(&self) -> AsyncEvents {
        let offered = self.info.as_ref().map_or(AsyncEvents::empty(), |info| info.identify.oaes);
        let health = AsyncEvents::SMART_SPARE
            | AsyncEvents::SMART_TEMPERATURE
            | AsyncEvents::SMART_RELIABILITY
            | AsyncEvents::SMART_READ_ONLY
            | AsyncEvents::SMART_VOLATILE_BACKUP;
        health | (offered & (AsyncEvents::NAMESPACE_ATTRIBUTE | AsyncEvents::FIRMWARE_ACTIVATION))
    }

    pub(super) fn init_answered(&mut self, step: InitStep, entry: &Cqe, now: Timestamp) {
        let status = entry.status();
        let done = if status.is_success() { self.init_succeeded(step, entry) } else { false };
        match step.required() {
            Some(what) if !done => {
                tracing::error!("the controller refused to {what}: {status}");
                self.fail(&ResetReason::Refused { what }, now);
            }
            _ => self.after_init_step(step),
        }
    }

    pub(super) fn init_skipped(&mut self, step: InitStep) {
        self.after_init_step(step);
    }

    fn after_init_step(&mut self, step: InitStep) {
        match step.next() {
            Some(next) => self.jobs.push_front(Job::Init(next)),
            None => {
                self.ask_for_events();
                self.jobs.push_front(Job::GoLive);
                self.jobs.push_front(Job::Scan(Scan::default()));
            }
        }
    }

    /// Whether the answer is one that can be worked with.
    fn init_succeeded(&mut self, step: InitStep, entry: &Cqe) -> bool {
        match step {
            InitStep::IdentifyController => self.identified(),
            InitStep::CommandSetLimits => {
                let limits = self.read_page().and_then(|page| NvmController::from_bytes(&page).ok());
                if let Some(info) = &mut self.info {
                    info.limits = limits.unwrap_or_default();
                }
                true
            }
            InitStep::NumberOfQueues => self.queues_granted(entry.dw0()),
            InitStep::ShadowDoorbells => {
                if let Some(limits) = &mut self.shared.directory().limits {
                    limits.shadow = Some(self.memory.shadow.clone());
                }
                true
            }
            InitStep::EventConfiguration => true,
        }
    }

    /// The data page of the current job.
    pub(super) fn read_page(&self) -> Option<[u8; PAGE_BYTES as usize]> {
        let mut page = [0; PAGE_BYTES as usize];
        self.memory.data.read(0, &mut page).ok()?;
        Some(page)
    }

    fn identified(&mut self) -> bool {
        let Some(identify) = self.read_page().and_then(|page| IdentifyController::from_bytes(&page).ok())
        else {
            return false;
        };
        let version = Version::from_raw(self.shared.function.read32(Register::Vs.offset()));
        let info = ControllerInfo::new(self.shared.function.name(), version, identify);
        self.shared.directory().info = Some(info.clone());
        self.info = Some(info);
        true
    }

    fn queues_granted(&mut self, dw0: u32) -> bool {
        let Some((granted, info)) = NumberOfQueues::from_raw(dw0).zip(self.info.as_ref()) else {
            return false;
        };
        let stride = self.capabilities.dstrd();
        let registers = u64::from(self.shared.function.register_bytes());
        let io_queues =
            granted.submission.get().min(granted.completion.get()).min(self.shared.options.io_queues);
        let with_doorbells =
            (1..=io_queues).take_while(|id| doorbells_end(QueueId(*id), stride) <= registers).count();
        let limits = ControllerLimits {
            queue_entries_max: self.capabilities.entries_max(),
            io_queues: u16::try_from(with_doorbells).unwrap_or(io_queues),
            stride,
            sgls: self.shared.options.sgls && info.takes_sgls(),
            shadow: None,
        };
        self.shared.directory().limits = Some(limits);
        with_doorbells > 0
    }

    /// Keeps the controller supplied with event requests, for as long as it lives.
    pub(super) fn ask_for_events(&mut self) {
        let taken = self.info.as_ref().map_or(1, |info| usize::from(info.identify.async_events_max()));
        let command = AdminCommand::AsyncEventRequest.sqe(UNNUMBERED);
        for _ in self.admin.events()..taken.min(self.event_requests_max) {
            self.admin.send(&*self.shared.function, &command, Purpose::Event, Timestamp::NEVER);
        }
    }
}
