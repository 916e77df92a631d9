//! Asynchronous events (Base, Asynchronous Event Request command).

use crate::bits::{get32, low8};
use crate::command::LogPageId;
use crate::structure::flags;

flags! {
    /// Events that a controller supports (OAES) and that a host asks for (Asynchronous Event Configuration,
    /// feature 0Bh): the two fields have the same bits.
    AsyncEvents: u32 {
        /// SMART critical warning: available spare. Feature only.
        SMART_SPARE = 0;
        /// SMART critical warning: temperature. Feature only.
        SMART_TEMPERATURE = 1;
        /// SMART critical warning: NVM subsystem reliability. Feature only.
        SMART_RELIABILITY = 2;
        /// SMART critical warning: media is read-only. Feature only.
        SMART_READ_ONLY = 3;
        /// SMART critical warning: volatile memory backup. Feature only.
        SMART_VOLATILE_BACKUP = 4;
        /// SMART critical warning: persistent memory region. Feature only.
        SMART_PMR = 5;
        /// Attached namespace attribute notices.
        NAMESPACE_ATTRIBUTE = 8;
        /// Firmware activation notices.
        FIRMWARE_ACTIVATION = 9;
        /// Telemetry log notices. Feature only.
        TELEMETRY = 10;
        /// Asymmetric namespace access change notices.
        ANA_CHANGE = 11;
        /// Predictable latency event aggregate log change notices.
        PREDICTABLE_LATENCY = 12;
        /// LBA status information alert notices.
        LBA_STATUS = 13;
        /// Endurance group event aggregate log page change notices.
        ENDURANCE_GROUP = 14;
        /// Normal NVM subsystem shutdown.
        NORMAL_SHUTDOWN = 15;
        /// Temperature threshold hysteresis recovery.
        TEMPERATURE_HYSTERESIS = 16;
        /// Discovery log page change notification; discovery controllers only.
        DISCOVERY_LOG_CHANGE = 31;
    }
}

/// What happened: the Asynchronous Event Type and Information of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AsyncEvent {
    /// Error Status, 0h: Write to Invalid Doorbell Register.
    InvalidDoorbellRegister,
    /// Error Status: Invalid Doorbell Write Value.
    InvalidDoorbellValue,
    /// Error Status: Diagnostic Failure.
    DiagnosticFailure,
    /// Error Status: Persistent Internal Error.
    PersistentInternalError,
    /// Error Status: Transient Internal Error.
    TransientInternalError,
    /// Error Status: Firmware Image Load Error.
    FirmwareImageLoadError,
    /// SMART / Health Status, 1h: NVM subsystem Reliability.
    SmartReliability,
    /// SMART / Health Status: Temperature Threshold.
    SmartTemperature,
    /// SMART / Health Status: Spare Below Threshold.
    SmartSpare,
    /// Notice, 2h: Attached Namespace Attribute Changed.
    NamespaceAttributeChanged,
    /// Notice: Firmware Activation Starting.
    FirmwareActivationStarting,
    /// Notice: Telemetry Log Changed.
    TelemetryLogChanged,
    /// Notice: Asymmetric Namespace Access Change.
    AnaChange,
    /// Notice: Predictable Latency Event Aggregate Log Change.
    PredictableLatencyChange,
    /// Notice: LBA Status Information Alert.
    LbaStatusAlert,
    /// Notice: Endurance Group Event Aggregate Log Page Change.
    EnduranceGroupChange,
    /// Notice: Discovery Log Page Change.
    DiscoveryLogChange,
    /// I/O Command specific status, 6h: Reservation Log Page Available.
    ReservationLogAvailable,
    /// I/O Command specific status: Sanitize Operation Completed.
    SanitizeCompleted,
    /// Immediate, 3h: Normal NVM Subsystem Shutdown.
    NormalShutdown,
    /// An event that is vendor specific, or of a later specification.
    Other {
        /// Asynchronous Event Type, 3 bits.
        event_type: u8,
        /// Asynchronous Event Information.
        information: u8,
    },
}

/// Type, information and event, as Base, Asynchronous Event Information, has them.
const EVENTS: [(u8, u8, AsyncEvent); 20] = [
    (0, 0x00, AsyncEvent::InvalidDoorbellRegister),
    (0, 0x01, AsyncEvent::InvalidDoorbellValue),
    (0, 0x02, AsyncEvent::DiagnosticFailure),
    (0, 0x03, AsyncEvent::PersistentInternalError),
    (0, 0x04, AsyncEvent::TransientInternalError),
    (0, 0x05, AsyncEvent::FirmwareImageLoadError),
    (1, 0x00, AsyncEvent::SmartReliability),
    (1, 0x01, AsyncEvent::SmartTemperature),
    (1, 0x02, AsyncEvent::SmartSpare),
    (2, 0x00, AsyncEvent::NamespaceAttributeChanged),
    (2, 0x01, AsyncEvent::FirmwareActivationStarting),
    (2, 0x02, AsyncEvent::TelemetryLogChanged),
    (2, 0x03, AsyncEvent::AnaChange),
    (2, 0x04, AsyncEvent::PredictableLatencyChange),
    (2, 0x05, AsyncEvent::LbaStatusAlert),
    (2, 0x06, AsyncEvent::EnduranceGroupChange),
    (2, 0xF0, AsyncEvent::DiscoveryLogChange),
    (3, 0x00, AsyncEvent::NormalShutdown),
    (6, 0x00, AsyncEvent::ReservationLogAvailable),
    (6, 0x01, AsyncEvent::SanitizeCompleted),
];

impl AsyncEvent {
    fn from_parts(event_type: u8, information: u8) -> Self {
        EVENTS
            .iter()
            .find(|entry| (entry.0, entry.1) == (event_type, information))
            .map_or(Self::Other { event_type, information }, |entry| entry.2)
    }

    fn parts(self) -> (u8, u8) {
        if let Self::Other { event_type, information } = self {
            return (event_type & 0b111, information);
        }
        EVENTS.iter().find(|entry| entry.2 == self).map_or((7, 0), |entry| (entry.0, entry.1))
    }
}

/// Dword 0 of an Asynchronous Event Request's completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AsyncEventResult {
    /// What happened.
    pub event: AsyncEvent,
    /// The log page to read: the event is masked until the host has read it.
    pub log_page: LogPageId,
}

impl AsyncEventResult {
    /// Reads dword 0 of the completion; every value means something.
    #[must_use]
    pub fn from_dw0(dw0: u32) -> Self {
        Self {
            event: AsyncEvent::from_parts(low8(get32(dw0, 0, 3)), low8(dw0 >> 8)),
            log_page: LogPageId(low8(dw0 >> 16)),
        }
    }

    /// Dword 0 of the completion.
    #[must_use]
    pub fn to_dw0(self) -> u32 {
        let (event_type, information) = self.event.parts();
        u32::from(event_type) | u32::from(information) << 8 | u32::from(self.log_page.0) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literal_dwords() {
        // Base, Asynchronous Event Request, Completion Queue Entry Dword 0: type 2:0, information 15:8, log
        // page 23:16.
        let cases = [
            (0x0004_0002, AsyncEvent::NamespaceAttributeChanged, LogPageId::CHANGED_NAMESPACES),
            (0x000C_0302, AsyncEvent::AnaChange, LogPageId::ASYMMETRIC_NAMESPACE_ACCESS),
            (0x0070_F002, AsyncEvent::DiscoveryLogChange, LogPageId::DISCOVERY),
            (0x0001_0100, AsyncEvent::InvalidDoorbellValue, LogPageId::ERROR_INFORMATION),
            (0x0002_0101, AsyncEvent::SmartTemperature, LogPageId::SMART_HEALTH),
            (0x0080_0006, AsyncEvent::ReservationLogAvailable, LogPageId::RESERVATION_NOTIFICATION),
            (0x00C0_4207, AsyncEvent::Other { event_type: 7, information: 0x42 }, LogPageId(0xC0)),
        ];
        for (dw0, event, log_page) in cases {
            let result = AsyncEventResult { event, log_page };
            assert_eq!(AsyncEventResult::from_dw0(dw0), result);
            assert_eq!(result.to_dw0(), dw0, "{result:?}");
        }
    }

    #[test]
    fn every_type_and_information_survives() {
        let mut named = 0;
        for dw0 in (0..8).flat_map(|event_type| (0..256).map(move |info| event_type | info << 8)) {
            let result = AsyncEventResult::from_dw0(dw0);
            assert_eq!(result.to_dw0(), dw0);
            named += usize::from(!matches!(result.event, AsyncEvent::Other { .. }));
        }
        assert_eq!(named, EVENTS.len());
    }
}
