//! SMART / Health Information (Base, SMART / Health Information Log Page).

use nvme_spec::command::LogPageId;
use nvme_spec::log::SmartHealth;

use super::device::AdminDevice;
use super::json::{Object, wide};
use super::page::{Page, hex};
use super::{NvmeError, Printed};

/// Kelvins of 0 degrees Celsius, as everybody rounds it.
const CELSIUS_ZERO_K: i64 = 273;

/// Temperature sensors of the page; one that reads 0 K is not there.
const SENSORS: usize = 8;
const SENSORS_AT: usize = 200;

/// Bytes of a data unit.
const DATA_UNIT_BYTES: u128 = 512_000;

/// The counters of 16 bytes: label, name in JSON, offset.
const COUNTERS: [(&str, &str, usize); 8] = [
    ("host_read_commands\t\t\t", "host_read_commands", 64),
    ("host_write_commands\t\t\t", "host_write_commands", 80),
    ("controller_busy_time\t\t\t", "controller_busy_time", 96),
    ("power_cycles\t\t\t\t", "power_cycles", 112),
    ("power_on_hours\t\t\t\t", "power_on_hours", 128),
    ("unsafe_shutdowns\t\t\t", "unsafe_shutdowns", 144),
    ("media_errors\t\t\t\t", "media_errors", 160),
    ("num_err_log_entries\t\t\t", "num_err_log_entries", 176),
];

/// Numbers of 4 bytes before the sensors, and after them.
const TIMES: [(&str, &str, usize); 2] = [
    ("Warning Temperature Time\t\t", "warning_temp_time", 192),
    ("Critical Composite Temperature Time\t", "critical_comp_time", 196),
];
const THERMAL: [(&str, &str, usize); 4] = [
    ("Thermal Management T1 Trans Count\t", "thm_temp1_trans_count", 216),
    ("Thermal Management T2 Trans Count\t", "thm_temp2_trans_count", 220),
    ("Thermal Management T1 Total Time\t", "thm_temp1_total_time", 224),
    ("Thermal Management T2 Total Time\t", "thm_temp2_total_time", 228),
];

pub(super) fn print(device: &AdminDevice) -> Result<Printed, NvmeError> {
    Ok(show(&device.name, &device.log(LogPageId::SMART_HEALTH, SmartHealth::BYTES)?))
}

pub(super) fn show(device: &str, bytes: &[u8]) -> Printed {
    let mut page = Lines { page: Page(bytes), text: String::new(), json: Object::default() };
    page.text = format!("Smart Log for NVME device:{device} namespace-id:ffffffff\n");
    page.hex("critical_warning\t\t\t", "critical_warning", 0);
    page.temperature();
    page.percent("available_spare\t\t\t\t", "avail_spare", 3);
    page.percent("available_spare_threshold\t\t", "spare_thresh", 4);
    page.percent("percentage_used\t\t\t\t", "percent_used", 5);
    page.hex("endurance group critical warning summary", "endurance_grp_critical_warning_summary", 6);
    page.data_units("Data Units Read\t\t\t\t", "data_units_read", 32);
    page.data_units("Data Units Written\t\t\t", "data_units_written", 48);
    COUNTERS.iter().for_each(|(label, name, at)| page.counter(label, name, *at));
    TIMES.iter().for_each(|(label, name, at)| page.number(label, name, *at));
    (0..SENSORS).for_each(|index| page.sensor(index));
    THERMAL.iter().for_each(|(label, name, at)| page.number(label, name, *at));
    Printed { text: page.text, json: page.json }
}

/// The page, and what is printed of it so far.
struct Lines<'a> {
    page: Page<'a>,
    text: String,
    json: Object,
}

impl Lines<'_> {
    fn line(&mut self, label: &str, value: &str) {
        self.text.push_str(&format!("{label}: {value}\n"));
    }

    fn hex(&mut self, label: &str, name: &str, at: usize) {
        self.line(label, &hex(self.page.number(at, 1)));
        self.json.value(name, self.page.short(at, 1));
    }

    fn percent(&mut self, label: &str, name: &str, at: usize) {
        let percent = self.page.short(at, 1);
        self.line(label, &format!("{percent}%"));
        self.json.value(name, percent);
    }

    fn temperature(&mut self) {
        let kelvins = self.page.short(1, 2);
        self.line("temperature\t\t\t\t", &degrees(kelvins));
        self.json.value("temperature", kelvins);
    }

    fn sensor(&mut self, index: usize) {
        let kelvins = self.page.short(SENSORS_AT + 2 * index, 2);
        if kelvins != 0 {
            let number = index + 1;
            self.line(&format!("Temperature Sensor {number}           "), &degrees(kelvins));
            self.json.value(&format!("temperature_sensor_{number}"), kelvins);
        }
    }

    fn number(&mut self, label: &str, name: &str, at: usize) {
        let number = self.page.short(at, 4);
        self.line(label, &number.to_string());
        self.json.value(name, number);
    }

    fn counter(&mut self, label: &str, name: &str, at: usize) {
        let count = self.page.number(at, 16);
        self.line(label, &count.to_string());
        self.json.value(name, wide(count));
    }

    fn data_units(&mut self, label: &str, name: &str, at: usize) {
        let units = self.page.number(at, 16);
        self.line(label, &format!("{units} ({})", size(units.saturating_mul(DATA_UNIT_BYTES))));
        self.json.value(name, wide(units));
    }
}

fn degrees(kelvins: u64) -> String {
    let celsius = i64::try_from(kelvins).unwrap_or(i64::MAX) - CELSIUS_ZERO_K;
    format!("{celsius}°C ({kelvins} Kelvin)")
}

/// Bytes with two decimals and a unit, in powers of 1000.
fn size(bytes: u128) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let mut unit = 0;
    let mut scale = 1u128;
    while bytes / scale >= 1000 && unit + 1 < UNITS.len() {
        scale *= 1000;
        unit += 1;
    }
    // Rounded to the nearest hundredth; that does not overflow for what fits the greatest unit by far.
    let hundredths = (bytes / scale).saturating_mul(100) + ((bytes % scale) * 100 + scale / 2) / scale;
    format!("{}.{:02} {}", hundredths / 100, hundredths % 100, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_two_decimals() {
        let cases = [
            (0, "0.00 B"),
            (512_000, "512.00 kB"),
            (1_000_000, "1.00 MB"),
            (1_005_000_000, "1.01 GB"),
            (999, "999.00 B"),
        ];
        for (bytes, words) in cases {
            assert_eq!(size(bytes), words);
        }
        assert!(size(u128::MAX).ends_with(" YB"));
    }

    #[test]
    fn cold_drives_are_below_zero() {
        assert_eq!(degrees(0), "-273°C (0 Kelvin)");
    }
}
