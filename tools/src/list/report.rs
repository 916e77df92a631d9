//! The list as text and as JSON.

use std::io;

use serde::Serialize;

use super::exported::{Exported, Kind, Subsystem};
use crate::drives::{Drive, size};

const HEADINGS: [&str; 5] = ["DEVICE", "SIZE", "BLOCKS", "MODEL", "UUID"];

/// What the JSON's top level is.
#[derive(Serialize)]
struct Drives<'a> {
    drives: &'a [Drive],
}

#[derive(Serialize)]
struct Subsystems<'a> {
    subsystems: &'a [Subsystem],
    problems: &'a [String],
}

pub(super) fn drives_json(drives: &[Drive]) -> io::Result<String> {
    pretty(&Drives { drives })
}

pub(super) fn json(subsystems: &[Subsystem], problems: &[String]) -> io::Result<String> {
    pretty(&Subsystems { subsystems, problems })
}

fn pretty(value: &impl Serialize) -> io::Result<String> {
    serde_json::to_string_pretty(value).map(|text| text + "\n").map_err(io::Error::other)
}

/// A line for each namespace.
pub(super) fn table(subsystems: &[Subsystem]) -> String {
    let exported: Vec<_> = subsystems.iter().flat_map(|subsystem| &subsystem.namespaces).collect();
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(exported.iter().map(|exported| row(exported)));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let line = |row: &[String; HEADINGS.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    if exported.is_empty() {
        "no namespaces are exported to this host\n".to_owned()
    } else {
        rows.iter().map(line).collect()
    }
}

fn row(exported: &Exported) -> [String; HEADINGS.len()] {
    let none = || "-".to_owned();
    let device = exported.device.clone();
    match &exported.kind {
        Kind::Usable { size_bytes, block_bytes, uuid, model, .. } => [
            device,
            size_bytes.map_or_else(none, size),
            block_bytes.to_string(),
            model.clone(),
            uuid.clone().unwrap_or_else(none),
        ],
        Kind::Unusable { problem } => [device, none(), none(), format!("cannot be used: {problem}"), none()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subsystem() -> Subsystem {
        let exported =
            |nsid: u32, kind| Exported { device: format!("rdma://192.0.2.1/nqn?ns={nsid}"), nsid, kind };
        let usable = Kind::Usable {
            size_bytes: Some(268_435_456),
            block_bytes: 512,
            uuid: Some("00112233-4455-6677-8899-aabbccddeeff".to_owned()),
            nguid: None,
            model: "Remora".to_owned(),
            serial: "S3R1AL".to_owned(),
            firmware: "0.1".to_owned(),
        };
        let namespaces =
            vec![exported(1, usable), exported(2, Kind::Unusable { problem: "it has metadata".to_owned() })];
        Subsystem { nqn: "nqn".to_owned(), address: "192.0.2.1:4420".to_owned(), namespaces }
    }

    #[test]
    fn namespaces_are_listed_and_so_is_why_some_cannot_be_used() {
        let expected = "\
DEVICE                     SIZE      BLOCKS  MODEL                            UUID
rdma://192.0.2.1/nqn?ns=1  268.4 MB  512     Remora                           00112233-4455-6677-8899-aabbccddeeff
rdma://192.0.2.1/nqn?ns=2  -         -       cannot be used: it has metadata  -
";
        assert_eq!(table(&[subsystem()]), expected);
        assert_eq!(table(&[]), "no namespaces are exported to this host\n");
        let value: serde_json::Value = serde_json::from_str(&json(&[subsystem()], &[]).unwrap()).unwrap();
        let namespaces = &value["subsystems"][0]["namespaces"];
        assert_eq!((&namespaces[0]["size_bytes"], &namespaces[0]["nsid"]), (&268_435_456.into(), &1.into()));
        assert_eq!(namespaces[1]["problem"], "it has metadata");
    }
}
