//! SMART / Health Information, log page 02h (Base, SMART / Health Information Log Page).

use crate::structure::{data_structure, flags};

/// What one data unit is, in bytes: 1000 times 512, rounded up by the device.
pub const DATA_UNIT_BYTES: u64 = 512_000;

flags! {
    /// Critical Warning.
    CriticalWarning: u8 {
        /// Available spare is below the threshold.
        SPARE = 0;
        /// A temperature is beyond a threshold.
        TEMPERATURE = 1;
        /// Reliability is degraded.
        RELIABILITY = 2;
        /// All media is read-only.
        READ_ONLY = 3;
        /// The backup of volatile memory failed.
        VOLATILE_BACKUP = 4;
        /// The persistent memory region is read-only or unreliable.
        PMR = 5;
    }
}

data_structure! {
    /// SMART / Health Information.
    SmartHealth, "SMART / Health Information", 512 {
        /// Critical Warning.
        0 critical_warning: CriticalWarning,
        /// Composite Temperature in kelvins.
        1 composite_temperature_k: u16,
        /// Available Spare, percent.
        3 available_spare: u8,
        /// Available Spare Threshold, percent.
        4 available_spare_threshold: u8,
        /// Percentage Used; may exceed 100, and ends at 255.
        5 percentage_used: u8,
        /// Endurance Group Critical Warning Summary.
        6 endurance_warning: u8,
        /// Data Units Read, in [`DATA_UNIT_BYTES`].
        32 data_units_read: u128,
        /// Data Units Written, in [`DATA_UNIT_BYTES`].
        48 data_units_written: u128,
        /// Host Read Commands.
        64 host_reads: u128,
        /// Host Write Commands.
        80 host_writes: u128,
        /// Controller Busy Time in minutes.
        96 busy_min: u128,
        /// Power Cycles.
        112 power_cycles: u128,
        /// Power On Hours.
        128 power_on_hours: u128,
        /// Unsafe Shutdowns.
        144 unsafe_shutdowns: u128,
        /// Media and Data Integrity Errors.
        160 media_errors: u128,
        /// Number of Error Information Log Entries, over the controller's life.
        176 error_log_entries: u128,
        /// Warning Composite Temperature Time in minutes.
        192 warning_temperature_min: u32,
        /// Critical Composite Temperature Time in minutes.
        196 critical_temperature_min: u32,
        /// Temperature Sensors 1 to 8 in kelvins; 0 is no sensor.
        200 temperature_sensors_k: [u16; 8],
        /// Thermal Management Temperature Transition Counts 1 and 2.
        216 thermal_transitions: [u32; 2],
        /// Total Times For Thermal Management Temperature 1 and 2 in seconds.
        224 thermal_time_s: [u32; 2],
    }
}
