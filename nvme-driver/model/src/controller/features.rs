//! Get Features and Set Features (Base 5.1.11 and 5.1.25). Nothing is saveable but reservation persistence.

use nvme_spec::async_event::AsyncEvents;
use nvme_spec::command::{FeatureId, GetFeatures, Select, SetFeatures};
use nvme_spec::features::{
    FeatureCapabilities, HostIdentifier, InterruptVectorConfiguration, NamespaceWriteProtection,
    NumberOfQueues, QueueCount, ReservationMask, ReservationPersistence, TemperatureThreshold, ThresholdType,
    VolatileWriteCacheEnable,
};
use nvme_spec::{Nsid, Status, StatusCode};

use super::{Answer, Controller, Fetched};
use crate::data_pointer::Direction;
use crate::faults::Lie;
use crate::options::ControllerOptions;

const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);

/// The over-temperature threshold that a controller begins with, in kelvins: WCTEMP.
const OVER_TEMPERATURE_K: u16 = 343;

/// A host's name for reservations; all zeroes if it has none.
pub(super) type Host = [u8; 16];

/// The values of this session: a Controller Level Reset makes them the defaults.
#[derive(Debug)]
pub(super) struct Features {
    /// Features that are a number and nothing else here.
    arbitration: u32,
    power: u32,
    error_recovery: u32,
    coalescing: u32,
    keep_alive: u32,
    over_temperature: u16,
    under_temperature: u16,
    async_events: AsyncEvents,
    write_cache: bool,
    queues: (u16, u16),
    queues_asked: bool,
    host: Option<HostIdentifier>,
    reservation_mask: ReservationMask,
    coalescing_disabled: u128,
}

impl Features {
    pub(super) fn new(options: &ControllerOptions) -> Self {
        Self {
            arbitration: 0,
            power: 0,
            error_recovery: 0,
            coalescing: 0,
            keep_alive: 0,
            over_temperature: OVER_TEMPERATURE_K,
            under_temperature: 0,
            async_events: AsyncEvents::empty(),
            write_cache: options.volatile_write_cache,
            queues: (options.io_queue_pairs, options.io_queue_pairs),
            queues_asked: false,
            host: None,
            reservation_mask: ReservationMask::empty(),
            coalescing_disabled: 0,
        }
    }

    #[inline]
    pub(super) fn write_cache_enabled(&self) -> bool {
        self.write_cache
    }

    pub(super) fn async_events(&self) -> AsyncEvents {
        self.async_events
    }

    pub(super) fn reservation_mask(&self) -> ReservationMask {
        self.reservation_mask
    }

    /// I/O submission and completion queues that may be created.
    pub(super) fn queue_counts(&self) -> (u16, u16) {
        self.queues
    }

    /// The host of this session.
    #[inline]
    pub(super) fn host(&self) -> Host {
        self.host.map_or([0; 16], |host| host.to_bytes().0)
    }

    /// Whether the host identifier has its long form.
    pub(super) fn host_is_extended(&self) -> bool {
        matches!(self.host, Some(HostIdentifier::Extended(_)))
    }

    fn threshold(&mut self, kind: ThresholdType) -> &mut u16 {
        match kind {
            ThresholdType::Over => &mut self.over_temperature,
            ThresholdType::Under => &mut self.under_temperature,
        }
    }

    /// The number of a feature that has no more to it.
    fn plain(&mut self, fid: FeatureId) -> Option<&mut u32> {
        match fid {
            FeatureId::ARBITRATION => Some(&mut self.arbitration),
            FeatureId::POWER_MANAGEMENT => Some(&mut self.power),
            FeatureId::ERROR_RECOVERY => Some(&mut self.error_recovery),
            FeatureId::INTERRUPT_COALESCING => Some(&mut self.coalescing),
            FeatureId::KEEP_ALIVE_TIMER => Some(&mut self.keep_alive),
            _ => None,
        }
    }
}

/// Whether a feature is one that the model has, and what can be done with it.
fn capabilities(fid: FeatureId) -> Option<FeatureCapabilities> {
    let changeable = FeatureCapabilities::CHANGEABLE;
    let namespace = FeatureCapabilities::NAMESPACE_SPECIFIC;
    match fid {
        FeatureId::RESERVATION_PERSISTENCE => Some(changeable | namespace | FeatureCapabilities::SAVEABLE),
        FeatureId::ERROR_RECOVERY
        | FeatureId::RESERVATION_NOTIFICATION_MASK
        | FeatureId::NAMESPACE_WRITE_PROTECTION => Some(changeable | namespace),
        FeatureId::ARBITRATION
        | FeatureId::POWER_MANAGEMENT
        | FeatureId::TEMPERATURE_THRESHOLD
        | FeatureId::VOLATILE_WRITE_CACHE
        | FeatureId::NUMBER_OF_QUEUES
        | FeatureId::INTERRUPT_COALESCING
        | FeatureId::INTERRUPT_VECTOR_CONFIGURATION
        | FeatureId::ASYNC_EVENT_CONFIGURATION
        | FeatureId::KEEP_ALIVE_TIMER
        | FeatureId::HOST_IDENTIFIER => Some(changeable),
        _ => None,
    }
}

impl Controller {
    pub(super) fn get_features(&mut self, command: &Fetched, get: &GetFeatures) -> Answer {
        let capabilities = self.capabilities(get.fid)?;
        match get.select {
            Select::Supported => Ok(capabilities.bits()),
            Select::Current => self.current(command, get),
            Select::Default | Select::Saved => {
                let current = std::mem::replace(&mut self.features, Features::new(&self.options));
                let answer = self.current(command, get);
                self.features = current;
                answer
            }
        }
    }

    /// A feature that is none, or that this controller lacks, is an invalid field.
    fn capabilities(&self, fid: FeatureId) -> Result<FeatureCapabilities, Status> {
        if fid == FeatureId::VOLATILE_WRITE_CACHE && !self.options.volatile_write_cache {
            return Err(INVALID_FIELD);
        }
        capabilities(fid).ok_or(INVALID_FIELD)
    }

    fn current(&mut self, command: &Fetched, get: &GetFeatures) -> Answer {
        match get.fid {
            FeatureId::VOLATILE_WRITE_CACHE => Ok(u32::from(self.features.write_cache)),
            FeatureId::ASYNC_EVENT_CONFIGURATION => Ok(self.features.async_events.bits()),
            FeatureId::NUMBER_OF_QUEUES => {
                let (submission, completion) = self.features.queues;
                queue_numbers(submission, completion)
            }
            FeatureId::TEMPERATURE_THRESHOLD => self.get_threshold(get.cdw11),
            FeatureId::INTERRUPT_VECTOR_CONFIGURATION => self.get_vector(get.cdw11),
            FeatureId::HOST_IDENTIFIER => self.get_host(command, get.cdw11),
            FeatureId::RESERVATION_NOTIFICATION_MASK => {
                self.namespaces.of_command(self.options.namespaces_max, get.nsid)?;
                Ok(self.features.reservation_mask.bits())
            }
            FeatureId::RESERVATION_PERSISTENCE => {
                let namespace = self.namespaces.of_command(self.options.namespaces_max, get.nsid)?;
                Ok(u32::from(namespace.reservations.persists()))
            }
            FeatureId::NAMESPACE_WRITE_PROTECTION => {
                let namespace = self.namespaces.of_command(self.options.namespaces_max, get.nsid)?;
                Ok(u32::from(namespace.write_protected))
            }
            fid => self.features.plain(fid).map(|value| *value).ok_or(INVALID_FIELD),
        }
    }

    pub(super) fn set_features(&mut self, command: &Fetched, set: &SetFeatures) -> Answer {
        let capabilities = self.capabilities(set.fid)?;
        if set.save && !capabilities.contains(FeatureCapabilities::SAVEABLE) {
            return Err(Status::permanent(StatusCode::FEATURE_NOT_SAVEABLE));
        }
        let specific = capabilities.contains(FeatureCapabilities::NAMESPACE_SPECIFIC);
        if !specific && set.nsid.is_one_namespace() {
            return Err(Status::permanent(StatusCode::FEATURE_NOT_NAMESPACE_SPECIFIC));
        }
        self.change(command, set)
    }

    fn change(&mut self, command: &Fetched, set: &SetFeatures) -> Answer {
        match set.fid {
            FeatureId::VOLATILE_WRITE_CACHE => self.set_write_cache(set.cdw11),
            FeatureId::ASYNC_EVENT_CONFIGURATION => {
                self.features.async_events = AsyncEvents::from_bits_retain(set.cdw11);
                Ok(0)
            }
            FeatureId::NUMBER_OF_QUEUES => self.set_queues(set.cdw11),
            FeatureId::TEMPERATURE_THRESHOLD => self.set_threshold(set.cdw11),
            FeatureId::INTERRUPT_VECTOR_CONFIGURATION => self.set_vector(set.cdw11),
            FeatureId::HOST_IDENTIFIER => self.set_host(command, set.cdw11),
            FeatureId::RESERVATION_NOTIFICATION_MASK => {
                self.features.reservation_mask = ReservationMask::from_bits_retain(set.cdw11);
                Ok(0)
            }
            FeatureId::RESERVATION_PERSISTENCE => self.set_persistence(set.nsid, set.cdw11),
            FeatureId::NAMESPACE_WRITE_PROTECTION => self.protect(set.nsid, set.cdw11),
            fid => {
                *self.features.plain(fid).ok_or(INVALID_FIELD)? = set.cdw11;
                Ok(0)
            }
        }
    }

    fn set_write_cache(&mut self, cdw11: u32) -> Answer {
        let enabled =
            VolatileWriteCacheEnable::from_bits_retain(cdw11).contains(VolatileWriteCacheEnable::ENABLED);
        if self.features.write_cache && !enabled {
            self.sync_all();
        }
        self.features.write_cache = enabled;
        Ok(0)
    }

    /// Once between resets, and before there are I/O queues (Base 5.1.25.2.1).
    fn set_queues(&mut self, cdw11: u32) -> Answer {
        let asked = NumberOfQueues::from_raw(cdw11).ok_or(INVALID_FIELD)?;
        if self.features.queues_asked || self.queues.has_io_queues() {
            return Err(Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR));
        }
        let given = match self.lie {
            Some(Lie::QueuePairs(pairs)) => (pairs, pairs),
            _ => {
                let most = self.options.io_queue_pairs;
                (asked.submission.get().min(most), asked.completion.get().min(most))
            }
        };
        self.features.queues_asked = true;
        self.features.queues =
            (given.0.min(self.options.io_queue_pairs), given.1.min(self.options.io_queue_pairs));
        queue_numbers(given.0, given.1)
    }

    fn get_threshold(&mut self, cdw11: u32) -> Answer {
        let asked =
            TemperatureThreshold::from_raw(cdw11).filter(|asked| asked.sensor == 0).ok_or(INVALID_FIELD)?;
        let kelvins = *self.features.threshold(asked.kind);
        Ok(TemperatureThreshold { kelvins, ..asked }.raw())
    }

    fn set_threshold(&mut self, cdw11: u32) -> Answer {
        let asked = TemperatureThreshold::from_raw(cdw11)
            .filter(|asked| matches!(asked.sensor, 0 | 0xF))
            .ok_or(INVALID_FIELD)?;
        *self.features.threshold(asked.kind) = asked.kelvins;
        Ok(0)
    }

    fn vector_of(&self, cdw11: u32) -> Result<InterruptVectorConfiguration, Status> {
        let asked = InterruptVectorConfiguration::from_raw(cdw11);
        if asked.vector < self.vectors() { Ok(asked) } else { Err(INVALID_FIELD) }
    }

    fn get_vector(&self, cdw11: u32) -> Answer {
        let asked = self.vector_of(cdw11)?;
        let coalescing_disabled = self.features.coalescing_disabled & (1 << asked.vector) != 0;
        Ok(InterruptVectorConfiguration { coalescing_disabled, ..asked }.raw())
    }

    fn set_vector(&mut self, cdw11: u32) -> Answer {
        let asked = self.vector_of(cdw11)?;
        let bit = 1 << asked.vector;
        self.features.coalescing_disabled &= !bit;
        if asked.coalescing_disabled {
            self.features.coalescing_disabled |= bit;
        }
        Ok(0)
    }

    fn get_host(&mut self, command: &Fetched, cdw11: u32) -> Answer {
        let extended = HostIdentifier::Extended([0; 16]).cdw11() == cdw11;
        let host = self.features.host();
        self.reply(command, if extended { &host } else { &host[..8] })
    }

    /// A host can name itself once between resets (Base 5.1.25.1.27).
    fn set_host(&mut self, command: &Fetched, cdw11: u32) -> Answer {
        let extended = HostIdentifier::Extended([0; 16]).cdw11() == cdw11;
        let bytes = if extended { 16 } else { 8 };
        let mut data = [0; 16];
        let mut cursor = self.walk(command, Direction::ToController, bytes as u64)?;
        self.receive(&mut cursor, &mut data[..bytes])?;
        let host = HostIdentifier::from_bytes(extended, &data[..bytes]).map_err(|_| INVALID_FIELD)?;
        if self.features.host.is_some_and(|old| old != host) {
            return Err(Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR));
        }
        if host.is_none() {
            return Err(INVALID_FIELD);
        }
        self.features.host = Some(host);
        Ok(0)
    }

    fn set_persistence(&mut self, nsid: Nsid, cdw11: u32) -> Answer {
        let persists = ReservationPersistence::from_bits_retain(cdw11)
            .contains(ReservationPersistence::PERSIST_THROUGH_POWER_LOSS);
        self.persist_reservations(nsid, persists)
    }

    /// Until Power Cycle and Permanent are not offered (NWPC is 1).
    fn protect(&mut self, nsid: Nsid, cdw11: u32) -> Answer {
        let protected = match NamespaceWriteProtection::from_raw(cdw11) {
            Some(NamespaceWriteProtection::Off) => false,
            Some(NamespaceWriteProtection::On) => true,
            _ => return Err(INVALID_FIELD),
        };
        self.namespaces.of_command(self.options.namespaces_max, nsid)?.write_protected = protected;
        Ok(0)
    }
}

fn queue_numbers(submission: u16, completion: u16) -> Answer {
    let (Some(submission), Some(completion)) = (QueueCount::new(submission), QueueCount::new(completion))
    else {
        return Err(Status::new(StatusCode::INTERNAL_ERROR));
    };
    Ok(NumberOfQueues { submission, completion }.raw())
}
