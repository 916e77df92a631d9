//! From a connection to a live association: one admin command at a time.

use std::time::Duration;

use block::Timestamp;
use nvme_spec::async_event::AsyncEvents;
use nvme_spec::command::{AdminCommand, Cns, FeatureId, Identify, SetFeatures};
use nvme_spec::features::{NumberOfQueues, QueueCount};
use nvme_spec::identify::{IDENTIFY_BYTES, IdentifyController, NvmController};
use nvme_spec::prp::PageSize;
use nvme_spec::registers::{
    Capabilities, CommandSetSelected, CommandSets, ControllerConfiguration, ControllerStatus, ReadyTimeouts,
    Version,
};
use nvme_spec::{ControllerId, Cqe, Nsid, QueueId, Sqe, Status, StatusCode};

use super::admin::{Job, UNNUMBERED};
use super::controller::{HostController, HostState};
use super::failure::{Failure, Unusable};
use super::info::ControllerInfo;
use super::options::{ADMIN_ENTRIES, ControllerKind};
use super::outgoing::OutgoingData;
use crate::wire::{
    AuthenticationRequirement, ConnectAttributes, ConnectCommand, ConnectData, ConnectResponse, PropertyGet,
    PropertyOffset, PropertySet,
};

/// Pause between looks at CSTS.
pub(super) const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// A controller is given at least this long to become ready, whatever CAP.TO says: some say 0.
const READY_TIMEOUT_MIN: Duration = Duration::from_secs(1);

/// A step of the way. They come in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Connect,
    Capabilities,
    /// CC without EN. It is no reset: the controller was never enabled.
    Configure,
    /// What CAP says may depend on CC.
    CapabilitiesAgain,
    ReadyTimeouts,
    Enable,
    Status,
    Version,
    Controller,
    CommandSet,
    AsyncConfiguration,
    QueueCount,
}

impl Step {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connect => "Connect",
            Self::Capabilities | Self::CapabilitiesAgain => "Property Get of CAP",
            Self::Configure | Self::Enable => "Property Set of CC",
            Self::ReadyTimeouts => "Property Get of CRTO",
            Self::Status => "Property Get of CSTS",
            Self::Version => "Property Get of VS",
            Self::Controller => "Identify Controller",
            Self::CommandSet => "Identify Controller of the NVM command set",
            Self::AsyncConfiguration => "Set Features Asynchronous Event Configuration",
            Self::QueueCount => "Set Features Number of Queues",
        }
    }

    /// The state that the controller is in with it.
    const fn state(self) -> HostState {
        match self {
            Self::Connect => HostState::ConnectingAdmin,
            Self::Capabilities | Self::Configure | Self::CapabilitiesAgain | Self::ReadyTimeouts => {
                HostState::ReadingProperties
            }
            Self::Enable | Self::Status => HostState::Enabling,
            Self::Version | Self::Controller | Self::CommandSet => HostState::Identifying,
            Self::AsyncConfiguration | Self::QueueCount => HostState::SettingFeatures,
        }
    }
}

/// A refusal of a command that is needed.
fn needed(step: Step, status: Status) -> Result<(), Failure> {
    if status.is_success() { Ok(()) } else { Err(Failure::Refused { what: step.name(), status }) }
}

/// Whether a controller wants us to authenticate, which we cannot.
fn check_authentication(required: AuthenticationRequirement) -> Result<(), Unusable> {
    if required == AuthenticationRequirement::default() { Ok(()) } else { Err(Unusable::Authentication) }
}

/// The controller of a successful Connect, or why there is none.
pub(super) fn connect_answer(queue: QueueId, cqe: &Cqe) -> Result<ControllerId, Failure> {
    let status = cqe.status();
    if !status.is_success() {
        let parameters = status.code() == StatusCode::FABRICS_CONNECT_INVALID_PARAMETERS;
        let field = match ConnectResponse::invalid(cqe.dw0()) {
            ConnectResponse::Invalid(field) if parameters => field,
            _ => None,
        };
        return Err(Failure::Connect { queue, status, field });
    }
    match ConnectResponse::connected(cqe.dw0()) {
        ConnectResponse::Connected { controller, authentication } => {
            check_authentication(authentication)?;
            Ok(controller)
        }
        ConnectResponse::Invalid(field) => Err(Failure::Connect { queue, status, field }),
    }
}

impl HostController {
    /// Takes a step.
    pub(super) fn step(&mut self, step: Step, now: Timestamp) {
        let (sqe, data) = self.step_command(step);
        self.enter(step.state());
        self.send(Job::Setup(step), sqe, data, now);
    }

    fn step_command(&self, step: Step) -> (Sqe, OutgoingData) {
        use PropertyOffset as Property;
        let get = |offset| (PropertyGet { offset }.to_sqe(UNNUMBERED), OutgoingData::None);
        let identify = |cns| {
            let sqe = AdminCommand::Identify(Identify::new(cns, Nsid::NONE)).sqe(UNNUMBERED);
            (sqe, OutgoingData::FromController { bytes: 4096 })
        };
        match step {
            Step::Connect => self.admin_connect(),
            Step::Capabilities | Step::CapabilitiesAgain => get(Property::Capabilities),
            Step::Configure => self.set_configuration(self.configuration()),
            Step::ReadyTimeouts => get(Property::ReadyTimeouts),
            Step::Enable => self.set_configuration(self.configuration().with_en(true)),
            Step::Status => get(Property::Status),
            Step::Version => get(Property::Version),
            Step::Controller => identify(Cns::CONTROLLER),
            Step::CommandSet => identify(Cns::COMMAND_SET_CONTROLLER),
            Step::AsyncConfiguration => {
                set_feature(FeatureId::ASYNC_EVENT_CONFIGURATION, self.wanted_events().bits())
            }
            Step::QueueCount => {
                let queues = QueueCount::new(self.options.io_queues);
                let wanted = queues.map(|count| NumberOfQueues { submission: count, completion: count });
                set_feature(FeatureId::NUMBER_OF_QUEUES, wanted.map_or(0, NumberOfQueues::raw))
            }
        }
    }

    /// Takes the answer to a step, and the next step.
    pub(super) fn step_answered(
        &mut self,
        step: Step,
        cqe: &Cqe,
        data: &[u8],
        now: Timestamp,
    ) -> Result<(), Failure> {
        match step {
            Step::Connect => {
                self.link.controller = connect_answer(QueueId::ADMIN, cqe)?;
                self.step(Step::Capabilities, now);
            }
            // A refusal of these does not matter: no limits are known then, or no events come.
            Step::CommandSet => {
                self.command_set_read(cqe.status(), data);
                self.configure_events(now);
            }
            Step::AsyncConfiguration => self.events_configured(now),
            _ => {
                needed(step, cqe.status())?;
                self.step_succeeded(step, cqe, data, now)?;
            }
        }
        Ok(())
    }

    fn step_succeeded(&mut self, step: Step, cqe: &Cqe, data: &[u8], now: Timestamp) -> Result<(), Failure> {
        match step {
            Step::Capabilities => {
                self.capabilities_read(cqe)?;
                self.step(Step::Configure, now);
            }
            Step::Configure => self.step(Step::CapabilitiesAgain, now),
            Step::CapabilitiesAgain => {
                self.capabilities_read(cqe)?;
                let timeouts = self.link.capabilities.crwms();
                self.step(if timeouts { Step::ReadyTimeouts } else { Step::Enable }, now);
            }
            Step::ReadyTimeouts => {
                self.link.ready_timeouts = ReadyTimeouts::from_raw(cqe.dw0());
                self.step(Step::Enable, now);
            }
            Step::Enable => {
                self.link.patience = now.after(self.ready_timeout());
                self.step(Step::Status, now);
            }
            Step::Status => self.status_read(cqe, now)?,
            Step::Version => {
                self.link.version = Version::from_raw(cqe.dw0());
                self.step(Step::Controller, now);
            }
            Step::Controller => self.controller_read(data, now)?,
            Step::QueueCount => {
                self.queues_granted(cqe);
                self.begin_scan(now);
            }
            Step::Connect | Step::CommandSet | Step::AsyncConfiguration => {}
        }
        Ok(())
    }

    fn admin_connect(&self) -> (Sqe, OutgoingData) {
        let command = ConnectCommand {
            record_format: 0,
            queue: QueueId::ADMIN,
            sq_size: ADMIN_ENTRIES - 1,
            attributes: ConnectAttributes::default(),
            keep_alive_ms: self.options.keep_alive_ms(),
        };
        let data = self.connect_data(ControllerId::DYNAMIC).to_bytes().to_vec();
        (command.to_sqe(UNNUMBERED), OutgoingData::ToController(data))
    }

    pub(super) fn connect_data(&self, controller: ControllerId) -> ConnectData {
        ConnectData {
            host_id: self.options.host.id,
            controller,
            subsystem: self.options.subsystem.clone(),
            host: self.options.host.nqn.clone(),
        }
    }

    fn capabilities_read(&mut self, cqe: &Cqe) -> Result<(), Unusable> {
        self.link.capabilities = Capabilities::from_raw(cqe.result64());
        let bytes = self.link.capabilities.mpsmin().bytes();
        if bytes > PageSize::KIB_4.bytes() { Err(Unusable::PageSize { bytes }) } else { Ok(()) }
    }

    /// CC without EN. A controller with several command sets is given all of them: each namespace then says which it has.
    pub(super) fn configuration(&self) -> ControllerConfiguration {
        let sets = self.link.capabilities.css();
        let css = if sets.contains(CommandSets::IO_COMMAND_SETS) {
            CommandSetSelected::All
        } else if sets.contains(CommandSets::NO_IO) {
            CommandSetSelected::AdminOnly
        } else {
            CommandSetSelected::Nvm
        };
        ControllerConfiguration::default().with_css(css).with_mps(PageSize::KIB_4).with_entry_sizes(6, 4)
    }

    pub(super) fn set_configuration(&self, value: ControllerConfiguration) -> (Sqe, OutgoingData) {
        let set = PropertySet { offset: PropertyOffset::Configuration, value: value.raw().into() };
        (set.to_sqe(UNNUMBERED), OutgoingData::None)
    }

    /// How long it may take to become ready: CAP.TO, and CRTO where it counts.
    fn ready_timeout(&self) -> Duration {
        let to_ms = self.link.capabilities.timeout_ms().max(self.link.ready_timeouts.with_media_ms());
        Duration::from_millis(to_ms.into()).max(READY_TIMEOUT_MIN)
    }

    fn status_read(&mut self, cqe: &Cqe, now: Timestamp) -> Result<(), Failure> {
        let status = ControllerStatus::from_raw(cqe.dw0());
        if status.cfs() {
            return Err(Failure::Fatal);
        }
        if status.rdy() {
            self.link.patience = Timestamp::NEVER;
            // The controller's timer runs from here on; before, a Keep Alive would be out of sequence.
            self.schedule_keep_alive(now);
            self.step(Step::Version, now);
        } else if now >= self.link.patience {
            return Err(Failure::Silent("CSTS.RDY"));
        } else {
            self.link.look_at = now.after(LOOK_PAUSE);
        }
        Ok(())
    }

    fn controller_read(&mut self, data: &[u8], now: Timestamp) -> Result<(), Failure> {
        let identify = IdentifyController::from_bytes(data).map_err(|_| Unusable::IdentifyData)?;
        let info = ControllerInfo {
            id: self.link.controller,
            capabilities: self.link.capabilities,
            version: self.link.version,
            identify,
            limits: NvmController::default(),
        };
        info.check(self.options.kind)?;
        let has_limits = info.version >= Version::V2_0 && self.options.kind == ControllerKind::Io;
        self.link.info = Some(Box::new(info));
        if has_limits {
            self.step(Step::CommandSet, now);
        } else {
            self.configure_events(now);
        }
        Ok(())
    }

    fn command_set_read(&mut self, status: Status, data: &[u8]) {
        if let (true, Some(info)) = (status.is_success(), &mut self.link.info) {
            info.limits = NvmController::from_bytes(data).unwrap_or_default();
        }
    }

    /// The events that we want, of those that the controller can tell of.
    fn wanted_events(&self) -> AsyncEvents {
        let wanted = match self.options.kind {
            ControllerKind::Io => AsyncEvents::NAMESPACE_ATTRIBUTE,
            ControllerKind::Discovery => AsyncEvents::DISCOVERY_LOG_CHANGE,
        };
        self.link.info.as_ref().map_or(AsyncEvents::empty(), |info| info.identify.oaes & wanted)
    }

    fn configure_events(&mut self, now: Timestamp) {
        if self.wanted_events().is_empty() {
            self.events_configured(now);
        } else {
            self.step(Step::AsyncConfiguration, now);
        }
    }

    fn events_configured(&mut self, now: Timestamp) {
        self.ask_for_events(now);
        match self.options.kind {
            ControllerKind::Io => self.step(Step::QueueCount, now),
            ControllerKind::Discovery => self.live(now),
        }
    }

    /// Both counts are 0-based in the answer; a controller may grant fewer than were asked for, or more.
    fn queues_granted(&mut self, cqe: &Cqe) {
        let wanted = self.options.io_queues;
        let granted = NumberOfQueues::from_raw(cqe.dw0());
        let of = |granted: NumberOfQueues| granted.submission.get().min(granted.completion.get());
        self.link.queue_count = granted.map_or(wanted, of).min(wanted);
    }
}

fn set_feature(fid: FeatureId, value: u32) -> (Sqe, OutgoingData) {
    (AdminCommand::SetFeatures(SetFeatures::value(fid, value)).sqe(UNNUMBERED), OutgoingData::None)
}

const _: () = assert!(IDENTIFY_BYTES == 4096);
