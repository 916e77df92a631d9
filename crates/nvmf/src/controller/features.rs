//! Set Features and Get Features (Base, Features).

use block::Timestamp;
use nvme_spec::async_event::AsyncEvents;
use nvme_spec::command::{DataDirection, FeatureId, GetFeatures, Select, SetFeatures};
use nvme_spec::features::{
    FeatureCapabilities, HostBehaviorSupport, NumberOfQueues, PowerManagement, QueueCount,
    VolatileWriteCacheEnable,
};
use nvme_spec::{Status, StatusCode};

use super::admin::Answer;
use super::association::{Controller, Kind};

const INVALID_FIELD: Status = Status::permanent(StatusCode::INVALID_FIELD);
const NOT_CHANGEABLE: Status = Status::permanent(StatusCode::FEATURE_NOT_CHANGEABLE);

/// EXHID of feature 81h: the identifier of 128 bits, the only one that fabrics have.
const EXTENDED_HOST_ID: u32 = 1;

/// The values that a host can set and that are nowhere else.
#[derive(Debug)]
pub(super) struct Features {
    queues_max: QueueCount,
    queues: NumberOfQueues,
    arbitration: u32,
    error_recovery: u32,
    write_atomicity: u32,
    behavior: Box<HostBehaviorSupport>,
}

/// The least count, for a limit that was checked not to be 0.
const ONE_QUEUE: QueueCount = match QueueCount::new(1) {
    Some(count) => count,
    None => unreachable!(),
};

impl Features {
    pub(super) fn new(io_queues: u16) -> Self {
        let queues_max = QueueCount::new(io_queues).unwrap_or(ONE_QUEUE);
        Self {
            queues_max,
            queues: NumberOfQueues { submission: queues_max, completion: queues_max },
            arbitration: 0,
            error_recovery: 0,
            write_atomicity: 0,
            behavior: Box::default(),
        }
    }
}

/// How much data a Get Features or Set Features moves, and which way.
pub(super) fn data_of(fid: FeatureId, set: bool) -> (DataDirection, u64) {
    let bytes = match fid {
        FeatureId::HOST_BEHAVIOR_SUPPORT => HostBehaviorSupport::BYTES as u64,
        FeatureId::HOST_IDENTIFIER => 16,
        _ => return (DataDirection::None, 0),
    };
    (if set { DataDirection::HostToController } else { DataDirection::ControllerToHost }, bytes)
}

impl Controller {
    /// Whether this kind of controller has the feature, and whether a host can change it.
    fn capabilities(&self, fid: FeatureId) -> Result<FeatureCapabilities, Status> {
        match (self.kind, fid) {
            (_, FeatureId::ASYNC_EVENT_CONFIGURATION | FeatureId::KEEP_ALIVE_TIMER)
            | (
                Kind::Io,
                FeatureId::NUMBER_OF_QUEUES
                | FeatureId::ARBITRATION
                | FeatureId::POWER_MANAGEMENT
                | FeatureId::ERROR_RECOVERY
                | FeatureId::WRITE_ATOMICITY_NORMAL
                | FeatureId::HOST_BEHAVIOR_SUPPORT,
            ) => Ok(FeatureCapabilities::CHANGEABLE),
            (_, FeatureId::HOST_IDENTIFIER) | (Kind::Io, FeatureId::VOLATILE_WRITE_CACHE) => {
                Ok(FeatureCapabilities::empty())
            }
            _ => Err(INVALID_FIELD),
        }
    }

    pub(super) fn get_feature(&self, get: &GetFeatures) -> Result<Answer, Status> {
        let capabilities = self.capabilities(get.fid)?;
        match get.select {
            Select::Supported => Ok(Answer::dw0(capabilities.bits())),
            Select::Current => self.feature(get, &self.features),
            // Nothing can be saved, so the saved values are the default ones.
            Select::Default | Select::Saved => {
                self.feature(get, &Features::new(self.features.queues_max.get()))
            }
        }
    }

    fn feature(&self, get: &GetFeatures, values: &Features) -> Result<Answer, Status> {
        let is_current = get.select == Select::Current;
        Ok(match get.fid {
            FeatureId::ARBITRATION => Answer::dw0(values.arbitration),
            FeatureId::POWER_MANAGEMENT => Answer::dw0(0),
            FeatureId::ERROR_RECOVERY => Answer::dw0(values.error_recovery),
            FeatureId::VOLATILE_WRITE_CACHE => Answer::dw0(VolatileWriteCacheEnable::ENABLED.bits()),
            FeatureId::NUMBER_OF_QUEUES => Answer::dw0(values.queues.raw()),
            FeatureId::WRITE_ATOMICITY_NORMAL => Answer::dw0(values.write_atomicity),
            FeatureId::ASYNC_EVENT_CONFIGURATION if is_current => Answer::dw0(self.events.enabled().bits()),
            FeatureId::KEEP_ALIVE_TIMER if is_current => Answer::dw0(self.keep_alive.timeout_ms()),
            FeatureId::ASYNC_EVENT_CONFIGURATION | FeatureId::KEEP_ALIVE_TIMER => Answer::dw0(0),
            FeatureId::HOST_BEHAVIOR_SUPPORT => Answer::data(values.behavior.to_bytes().to_vec()),
            FeatureId::HOST_IDENTIFIER if get.cdw11 == EXTENDED_HOST_ID => {
                Answer::data(self.host_id.0.to_vec())
            }
            _ => return Err(INVALID_FIELD),
        })
    }

    pub(super) fn set_feature(
        &mut self,
        now: Timestamp,
        set: &SetFeatures,
        data: &[u8],
    ) -> Result<Answer, Status> {
        self.capabilities(set.fid)?;
        if set.save {
            return Err(Status::permanent(StatusCode::FEATURE_NOT_SAVEABLE));
        }
        match set.fid {
            FeatureId::ARBITRATION => self.features.arbitration = set.cdw11,
            FeatureId::ERROR_RECOVERY => self.features.error_recovery = set.cdw11,
            FeatureId::WRITE_ATOMICITY_NORMAL => self.features.write_atomicity = set.cdw11,
            FeatureId::POWER_MANAGEMENT if PowerManagement::from_raw(set.cdw11).power_state != 0 => {
                return Err(INVALID_FIELD);
            }
            FeatureId::POWER_MANAGEMENT => {}
            // A drive's cache cannot be turned off for one host, and it is on.
            FeatureId::VOLATILE_WRITE_CACHE if set.cdw11 & 1 == 0 => return Err(NOT_CHANGEABLE),
            FeatureId::VOLATILE_WRITE_CACHE => {}
            FeatureId::NUMBER_OF_QUEUES => return self.set_queues(set.cdw11),
            FeatureId::ASYNC_EVENT_CONFIGURATION => {
                self.events.enable(AsyncEvents::from_bits_retain(set.cdw11));
            }
            FeatureId::KEEP_ALIVE_TIMER => self.keep_alive.set(now, set.cdw11),
            FeatureId::HOST_BEHAVIOR_SUPPORT => {
                *self.features.behavior = HostBehaviorSupport::from_bytes(data)
                    .map_err(|_| Status::permanent(StatusCode::DATA_SGL_LENGTH_INVALID))?;
            }
            // A host says who it is with Connect (Base, Host Identifier: fabrics).
            FeatureId::HOST_IDENTIFIER => {
                return Err(Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR));
            }
            _ => return Err(INVALID_FIELD),
        }
        Ok(Answer::dw0(0))
    }

    fn set_queues(&mut self, cdw11: u32) -> Result<Answer, Status> {
        let asked = NumberOfQueues::from_raw(cdw11).ok_or(INVALID_FIELD)?;
        if !self.io_queues.is_empty() {
            return Err(Status::permanent(StatusCode::COMMAND_SEQUENCE_ERROR));
        }
        let max = self.features.queues_max;
        let granted =
            NumberOfQueues { submission: asked.submission.min(max), completion: asked.completion.min(max) };
        self.features.queues = granted;
        Ok(Answer::dw0(granted.raw()))
    }
}
