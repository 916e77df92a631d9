//! `remora rdma devices`: what there is to connect from.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use rdma::soft::Soft;
use rdma::{DeviceInfo, DevicesError, PortState, Provider, verbs_devices};
use serde::Serialize;

use super::error::RdmaError;

const HEADINGS: [&str; 7] = ["PROVIDER", "DEVICE", "STATE", "MTU", "GUID", "QUEUE PAIRS", "ADDRESSES"];

/// List RDMA devices.
#[derive(Clone, Debug, Args)]
pub struct DevicesOptions {
    /// The list's format; json has the limits besides
    #[arg(long, alias = "output_format", value_enum, default_value = "normal")]
    pub output_format: Format,
}

/// A format of output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text
    Normal,
    /// JSON
    Json,
}

/// What the JSON's top level is.
#[derive(Serialize)]
struct Listing {
    devices: Vec<DeviceJson>,
    /// Why there are no devices of a provider.
    missing: Vec<Missing>,
}

#[derive(Serialize)]
struct Missing {
    provider: &'static str,
    reason: String,
}

#[derive(Serialize)]
struct DeviceJson {
    provider: &'static str,
    name: String,
    state: &'static str,
    mtu: u32,
    guid: String,
    addresses: Vec<String>,
    limits: LimitsJson,
}

#[derive(Serialize)]
struct LimitsJson {
    queue_pairs_max: u32,
    send_depth_max: u32,
    receive_depth_max: u32,
    shared_receive_depth_max: u32,
    segments_max: u32,
    responder_resources_max: u8,
    initiator_depth_max: u8,
    message_bytes_max: u32,
}

/// Runs the command.
pub(super) fn run(options: &DevicesOptions) -> Result<(), RdmaError> {
    let listing = listing(Soft.devices(), verbs_devices());
    let text = match options.output_format {
        Format::Normal => table(&listing),
        Format::Json => {
            serde_json::to_string_pretty(&listing).map_err(|error| RdmaError::Output(error.into()))? + "\n"
        }
    };
    io::stdout().write_all(text.as_bytes()).map_err(RdmaError::Output)
}

fn listing(
    soft: Result<Vec<DeviceInfo>, DevicesError>,
    verbs: Result<Vec<DeviceInfo>, DevicesError>,
) -> Listing {
    let mut listing = Listing { devices: Vec::new(), missing: Vec::new() };
    for (provider, found) in [("verbs", verbs), ("soft", soft)] {
        match found {
            Ok(devices) => listing.devices.extend(devices.into_iter().map(DeviceJson::from)),
            Err(error) => listing.missing.push(Missing { provider, reason: error.to_string() }),
        }
    }
    listing
}

impl From<DeviceInfo> for DeviceJson {
    fn from(info: DeviceInfo) -> Self {
        let limits = info.limits;
        Self {
            provider: info.provider,
            name: info.name,
            state: match info.state {
                PortState::Active => "active",
                PortState::Down => "down",
            },
            mtu: info.mtu.bytes(),
            guid: guid(info.guid),
            addresses: info.addresses.iter().map(ToString::to_string).collect(),
            limits: LimitsJson {
                queue_pairs_max: limits.queue_pairs_max,
                send_depth_max: limits.send_depth_max,
                receive_depth_max: limits.receive_depth_max,
                shared_receive_depth_max: limits.shared_receive_depth_max,
                segments_max: limits.segments_max,
                responder_resources_max: limits.responder_resources_max,
                initiator_depth_max: limits.initiator_depth_max,
                message_bytes_max: limits.message_bytes_max,
            },
        }
    }
}

/// As ibv_devices writes it; a software device gets one when it is opened.
fn guid(guid: u64) -> String {
    if guid == 0 { "-".to_owned() } else { format!("{guid:016x}") }
}

fn table(listing: &Listing) -> String {
    let row = |device: &DeviceJson| {
        [
            device.provider.to_owned(),
            device.name.clone(),
            device.state.to_owned(),
            device.mtu.to_string(),
            device.guid.clone(),
            device.limits.queue_pairs_max.to_string(),
            device.addresses.join(" "),
        ]
    };
    let rows: Vec<[String; HEADINGS.len()]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(listing.devices.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let line = |row: &[String; HEADINGS.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let missing = listing
        .missing
        .iter()
        .map(|missing| format!("no {} devices: {}\n", missing.provider, missing.reason));
    rows.iter().map(line).chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdma::{DeviceLimits, PathMtu};

    fn device() -> DeviceInfo {
        let limits = DeviceLimits {
            queue_pairs_max: 1,
            completions_max: 9,
            send_depth_max: 2,
            receive_depth_max: 3,
            shared_receive_depth_max: 4,
            segments_max: 5,
            responder_resources_max: 6,
            initiator_depth_max: 7,
            message_bytes_max: 8,
        };
        DeviceInfo {
            name: "mlx5_0".to_owned(),
            provider: "verbs",
            addresses: vec!["192.0.2.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            guid: 0x0c42_a103_0055_d1b2,
            mtu: PathMtu::Bytes4096,
            state: PortState::Active,
            limits,
        }
    }

    fn no_library() -> Result<Vec<DeviceInfo>, DevicesError> {
        Err(DevicesError::Library { library: "libibverbs.so.1", reason: "no such file".to_owned() })
    }

    #[test]
    fn the_table_names_devices_and_says_why_some_are_missing() {
        let soft = DeviceInfo {
            name: "lo".to_owned(),
            provider: "soft",
            guid: 0,
            state: PortState::Down,
            ..device()
        };
        let expected = "\
PROVIDER  DEVICE  STATE   MTU   GUID              QUEUE PAIRS  ADDRESSES
verbs     mlx5_0  active  4096  0c42a1030055d1b2  1            192.0.2.7 fd00::7
soft      lo      down    4096  -                 1            192.0.2.7 fd00::7
";
        assert_eq!(table(&listing(Ok(vec![soft]), Ok(vec![device()]))), expected);
        let without = table(&listing(Ok(Vec::new()), no_library()));
        assert!(
            without.ends_with("\nno verbs devices: libibverbs.so.1 cannot be loaded: no such file\n"),
            "{without}"
        );
    }

    #[test]
    fn json_has_the_limits() {
        let value = serde_json::to_value(listing(no_library(), Ok(vec![device()]))).unwrap();
        let limits = &value["devices"][0]["limits"];
        assert_eq!((&limits["queue_pairs_max"], &limits["message_bytes_max"]), (&1.into(), &8.into()));
        assert_eq!(value["devices"][0]["addresses"][1], "fd00::7");
        assert_eq!(value["missing"][0]["provider"], "soft");
    }
}
