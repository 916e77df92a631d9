//! What we print of literal pages, against what nvme-cli 2.3 printed of them.
//!
//! The pages are pseudo-random bytes with a few chosen fields. Three of its words are not ours: it prints 32-bit numbers
//! above 2^31 as negative ones where they are not, and explains statuses and transports in sentences of its own; the
//! expected texts have our words there.

use block::uri::DeviceUri;
use serde_json::Value;

use super::*;

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvme-cli/", $name))
    };
}

macro_rules! page {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nvme-cli/", $name))
    };
}

/// nvme-cli's C type is a signed one: what it meant is 2^32 more.
fn with_unsigned(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_i64() && number.as_i64() < Some(0) => {
            Value::from(number.as_i64().unwrap() + (1 << 32))
        }
        Value::Array(list) => list.into_iter().map(with_unsigned).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, with_unsigned(value))).collect(),
        other => other,
    }
}

fn check(printed: &Printed, text: &str, json: &str) {
    for (ours, theirs) in printed.text.lines().zip(text.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(printed.text, text);
    let ours: Value = serde_json::from_str(&printed.json.pretty().unwrap()).unwrap();
    let theirs = with_unsigned(serde_json::from_str(json).unwrap());
    assert_eq!(ours, theirs);
}

#[test]
fn a_controller() {
    let printed = id_ctrl::show(page!("id-ctrl.bin"));
    check(&printed, fixture!("id-ctrl.txt"), fixture!("id-ctrl.json"));
}

#[test]
fn a_namespace() {
    let printed = id_ns::show(nvme_spec::Nsid(1), page!("id-ns.bin")).unwrap();
    check(&printed, fixture!("id-ns.txt"), fixture!("id-ns.json"));
}

#[test]
fn a_namespace_without_optimal_sizes_has_no_lines_for_them() {
    let mut page = *page!("id-ns.bin");
    page[24] = 0;
    let text = id_ns::show(nvme_spec::Nsid(1), &page).unwrap().text;
    assert!(!text.contains("npwg") && !text.contains("nows") && text.contains("mssrl"), "{text}");
}

#[test]
fn health() {
    check(
        &smart::show("null", page!("smart-log.bin")),
        fixture!("smart-log.txt"),
        fixture!("smart-log.json"),
    );
}

#[test]
fn errors() {
    let printed = error_log::show("null", page!("error-log.bin"));
    check(&printed, fixture!("error-log.txt"), fixture!("error-log.json"));
}

#[test]
fn firmware() {
    check(&firmware::show("null", page!("fw-log.bin")), fixture!("fw-log.txt"), fixture!("fw-log.json"));
}

#[test]
fn a_software_ssd_answers_everything() {
    let uri: DeviceUri = "soft-nvme:?size=1MiB".parse().unwrap();
    let device = AdminDevice::open(&uri).unwrap();
    let controller = id_ctrl::print(&device).unwrap().text;
    assert!(controller.contains("\nsqes      : 0x66\ncqes      : 0x44\n"), "{controller}");
    let namespace = id_ns::print(&device).unwrap().text;
    assert!(
        namespace.contains("nsze    : 0x800\n") && namespace.contains("lbads:9  rp:0 (in use)"),
        "{namespace}"
    );
    assert!(smart::print(&device).unwrap().text.contains("Kelvin"));
    assert!(error_log::print(&device, 256).unwrap().text.contains(" Entry[ 0]"));
    assert!(firmware::print(&device).unwrap().text.contains("frs1 : "));
}

#[test]
fn other_devices_are_not_asked() {
    let uri: DeviceUri = "mem:1MiB".parse().unwrap();
    let said = AdminDevice::open(&uri).map(|_| ()).unwrap_err().to_string();
    assert!(said.contains("nvme:, soft-nvme:, rdma:"), "{said}");
}
