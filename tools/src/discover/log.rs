//! A discovery log in nvme-cli's layout.

use nvme_spec::log::{DiscoveryEntry, TransportType};
use nvmf::host::discovery::DiscoveryLog;

use super::words;
use crate::nvme::json::Object;

/// The width of most labels.
const WIDTH: usize = 9;

/// As nvme-cli prints it, which begins with an empty line.
pub(super) fn text(log: &DiscoveryLog) -> String {
    let DiscoveryLog { generation, entries } = log;
    let mut text =
        format!("\nDiscovery Log Number of Records {}, Generation counter {generation}\n", entries.len());
    for (index, entry) in entries.iter().enumerate() {
        text.push_str(&format!("=====Discovery Log Entry {index}======\n"));
        for (name, value) in common(entry) {
            text.push_str(&format!("{:WIDTH$}{value}\n", format!("{name}:")));
        }
        text.push_str(&transport_text(entry));
    }
    text
}

/// As nvme-cli's JSON.
pub(super) fn json(log: &DiscoveryLog) -> Object {
    let mut object = Object::default();
    object.value("genctr", log.generation);
    object.list("records", log.entries.iter().map(record).collect());
    object
}

/// What entries of every transport have.
fn common(entry: &DiscoveryEntry) -> [(&'static str, String); 9] {
    // Without an address its family means nothing.
    let has_address = !entry.traddr.trimmed().is_empty();
    [
        ("trtype", words::transport(entry.trtype).to_owned()),
        ("adrfam", if has_address { words::family(entry.adrfam) } else { "" }.to_owned()),
        ("subtype", words::subsystem(entry.subtype).to_owned()),
        ("treq", words::requirements(entry.treq).to_owned()),
        ("portid", entry.portid.to_string()),
        ("trsvcid", entry.trsvcid.to_string()),
        ("subnqn", entry.subnqn.to_string()),
        ("traddr", entry.traddr.to_string()),
        ("eflags", words::flags(entry.eflags)),
    ]
}

fn transport_text(entry: &DiscoveryEntry) -> String {
    let tsas = &entry.tsas;
    match entry.trtype {
        TransportType::RDMA => format!(
            "rdma_prtype: {}\nrdma_qptype: {}\nrdma_cms:    {}\nrdma_pkey: 0x{:04x}\n",
            words::provider(tsas.prtype),
            words::service(tsas.qptype),
            words::management(tsas.cms),
            tsas.pkey
        ),
        TransportType::TCP => format!("sectype: {}\n", words::security(tsas.qptype.0)),
        _ => String::new(),
    }
}

fn record(entry: &DiscoveryEntry) -> Object {
    let mut object = Object::default();
    for (name, value) in common(entry) {
        if name == "portid" { object.value(name, entry.portid) } else { object.value(name, value) }
    }
    let tsas = &entry.tsas;
    match entry.trtype {
        TransportType::RDMA => {
            object.value("rdma_prtype", words::provider(tsas.prtype));
            object.value("rdma_qptype", words::service(tsas.qptype));
            object.value("rdma_cms", words::management(tsas.cms));
            object.value("rdma_pkey", tsas.pkey);
        }
        TransportType::TCP => object.value("sectype", words::security(tsas.qptype.0)),
        _ => {}
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_spec::log::DiscoveryHeader;
    use serde_json::Value;

    macro_rules! fixture {
        ($name:literal) => {
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvme-cli/", $name)
        };
    }

    fn log() -> DiscoveryLog {
        let page = include_bytes!(fixture!("discover.bin"));
        let (header, entries) = page.split_at(DiscoveryHeader::BYTES);
        let header = DiscoveryHeader::from_bytes(header).unwrap();
        let entries: Vec<_> = entries.as_chunks().0.iter().map(DiscoveryEntry::from_array).collect();
        assert_eq!(header.numrec, entries.len() as u64);
        DiscoveryLog { generation: header.genctr, entries }
    }

    /// Against what nvme-cli 2.3 printed of the same page.
    #[test]
    fn a_log_is_printed_as_nvme_cli_does() {
        let ours = text(&log());
        let theirs = include_str!(fixture!("discover.txt"));
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours, theirs);
        let theirs: Value = serde_json::from_str(include_str!(fixture!("discover.json"))).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&json(&log()).pretty().unwrap()).unwrap(), theirs);
    }

    #[test]
    fn a_target_cannot_command_the_terminal() {
        let mut log = log();
        log.entries[0].subnqn = nvme_spec::text::Text::from_raw([0x1b; 256]);
        assert!(!text(&log).contains('\x1b') && !json(&log).pretty().unwrap().contains("\\u001b"));
    }
}
