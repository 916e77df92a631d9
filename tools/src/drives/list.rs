//! The list of drives: a table for people, JSON for programs.

use std::io;

use serde::Serialize;

use super::drive::{Drive, Takeable};
use super::error::DrivesError;

const HEADINGS: [&str; 7] = ["ADDRESS", "MODEL", "SIZE", "DRIVER", "NUMA", "GROUP", "CAN BE TAKEN"];

/// The units of a disk's size, as drives are sold: powers of 1000.
const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

/// What the JSON's top level is.
#[derive(Serialize)]
struct Listing<'a> {
    drives: &'a [Drive],
}

/// The drives as JSON.
pub(super) fn json(drives: &[Drive]) -> Result<String, DrivesError> {
    let text = serde_json::to_string_pretty(&Listing { drives })
        .map_err(|error| DrivesError::Output { source: io::Error::other(error) })?;
    Ok(text + "\n")
}

/// The drives as a table.
pub(crate) fn table(drives: &[Drive]) -> String {
    if drives.is_empty() {
        return "no NVMe drives on the PCI bus\n".to_owned();
    }
    let rows: Vec<[String; HEADINGS.len()]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(drives.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADINGS.len()).map(width).collect();
    let line = |row: &[String; HEADINGS.len()]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

fn row(drive: &Drive) -> [String; HEADINGS.len()] {
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    [
        drive.address.clone(),
        drive.model.clone().unwrap_or_else(|| drive.pci_id.clone()),
        drive.size_bytes.map_or_else(|| "-".to_owned(), size),
        drive.driver.clone().unwrap_or_else(|| "-".to_owned()),
        number(drive.numa_node),
        number(drive.iommu_group),
        match &drive.takeable {
            Takeable::Yes => "yes".to_owned(),
            Takeable::AfterBind => format!("after `remora drives bind {}`", drive.address),
            Takeable::No(reason) => format!("no: {reason}"),
        },
    ]
}

/// Three or four digits and a unit.
pub(crate) fn size(bytes: u64) -> String {
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        tenths /= 1000;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drives() -> Vec<Drive> {
        let first = Drive {
            address: "0000:81:00.0".to_owned(),
            model: Some("ACME 9000".to_owned()),
            serial: Some("S3R1AL".to_owned()),
            pci_id: "1b36:0010".to_owned(),
            size_bytes: Some(3_840_755_982_336),
            disks: vec!["nvme0n1".to_owned()],
            driver: Some("nvme".to_owned()),
            numa_node: Some(1),
            iommu_group: Some(17),
            takeable: Takeable::No("nvme0n1p2 is mounted on /".to_owned()),
        };
        let second = Drive {
            address: "0000:c1:00.0".to_owned(),
            model: None,
            serial: None,
            size_bytes: None,
            disks: Vec::new(),
            driver: Some("vfio-pci".to_owned()),
            numa_node: None,
            iommu_group: Some(9),
            takeable: Takeable::Yes,
            ..first.clone()
        };
        vec![first, second]
    }

    #[test]
    fn columns_are_aligned() {
        let expected = "\
ADDRESS       MODEL      SIZE    DRIVER    NUMA  GROUP  CAN BE TAKEN
0000:81:00.0  ACME 9000  3.8 TB  nvme      1     17     no: nvme0n1p2 is mounted on /
0000:c1:00.0  1b36:0010  -       vfio-pci  -     9      yes
";
        assert_eq!(table(&drives()), expected);
        assert_eq!(table(&[]), "no NVMe drives on the PCI bus\n");
    }

    #[test]
    fn json_has_every_field() {
        let text = json(&drives()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let first = &value["drives"][0];
        assert_eq!(
            (&first["takeable"], &first["reason"]),
            (&"no".into(), &"nvme0n1p2 is mounted on /".into())
        );
        assert_eq!(first["size_bytes"], 3_840_755_982_336_u64);
        let second = &value["drives"][1];
        assert_eq!((&second["takeable"], &second["model"]), (&"yes".into(), &serde_json::Value::Null));
        assert_eq!(second["iommu_group"], 9);
    }

    #[test]
    fn sizes_are_as_drives_are_sold() {
        let cases =
            [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (67_108_864, "67.1 MB"), (999_999, "999.9 kB")];
        for (bytes, words) in cases {
            assert_eq!(size(bytes), words);
        }
        assert_eq!(size(u64::MAX), "18.4 EB");
    }
}
