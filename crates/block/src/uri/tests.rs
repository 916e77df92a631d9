use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use nvme_spec::Nsid;
use proptest::prelude::*;

use super::*;

fn target(text: &str) -> Target {
    text.parse::<DeviceUri>().unwrap().target().clone()
}

fn error(text: &str) -> String {
    text.parse::<DeviceUri>().unwrap_err().to_string()
}

#[test]
fn every_scheme_of_the_table_is_read() {
    let address = PciAddress::new(0, 1, 0, 0).unwrap();
    assert_eq!(target("nvme:0000:01:00.0/1"), Target::Nvme { address, nsid: Nsid(1) });
    assert_eq!(target("soft-nvme:/a/b?size=4GiB"), Target::SoftNvme { path: Some("/a/b".into()) });
    assert_eq!(target("soft-nvme:?size=4GiB"), Target::SoftNvme { path: None });
    assert_eq!(target("file:a b%3F"), Target::File { path: "a b?".into() });
    assert_eq!(target("mem:4GiB"), Target::Mem { bytes: 4 << 30 });
    assert_eq!(target("null:4g"), Target::Null { bytes: Some(4 << 30) });
    assert_eq!(target("null:"), Target::Null { bytes: None });
    assert_eq!(target("mirror:ckpt-1"), Target::Mirror { name: "ckpt-1".into() });
}

#[test]
fn remote_namespaces_have_three_kinds_of_host() {
    let nqn = "nqn.2014-08.org.nvmexpress:uuid:1";
    let rdma = |host, port| Target::Rdma { host, port, nqn: nqn.into() };
    let v4 = Host::V4(Ipv4Addr::new(192, 0, 2, 7));
    let v6 = Host::V6 { address: Ipv6Addr::LOCALHOST, zone: None };
    assert_eq!(target(&format!("rdma://192.0.2.7/{nqn}?ns=1")), rdma(v4.clone(), 4420));
    assert_eq!(target(&format!("rdma://192.0.2.7:4421/{nqn}")), rdma(v4, 4421));
    assert_eq!(target(&format!("rdma://[::1]/{nqn}")), rdma(v6.clone(), 4420));
    assert_eq!(target(&format!("rdma://[::1]:1/{nqn}")), rdma(v6, 1));
    assert_eq!(target(&format!("rdma://store:5/{nqn}")), rdma(Host::Name("store".into()), 5));
    let zoned = target(&format!("rdma://[fe80::1%25eth0]:5/{nqn}"));
    let zone = Some("eth0".into());
    assert_eq!(zoned, rdma(Host::V6 { address: "fe80::1".parse().unwrap(), zone }, 5));
}

#[test]
fn errors_say_what_would_be_right() {
    assert_eq!(
        error("/dev/sdb"),
        "`/dev/sdb` names no kind of device: write one of nvme:, soft-nvme:, file:, mem:, null:, rdma:, \
         mirror:, for example `file:/dev/sdb`"
    );
    assert!(error("nfs:/x").starts_with("`nfs:` is no kind of device: write one of nvme:, soft-nvme:"));
    assert!(error("nvme:0000:01:00.9/1").starts_with("`0000:01:00.9` is no PCI address: write nvme:0000:01"));
    assert!(error("nvme:0000:01:00.0/0").starts_with("`0` is no namespace number"));
    assert!(error("nvme:0000:01:00.0").contains("then the namespace"));
    assert!(error("mem:").starts_with("mem: `` does not begin with a decimal number"));
    assert!(error("rdma://fe80::1/nqn.a").starts_with("`fe80::1` is no host"));
    assert!(error("rdma://a:0/nqn.a").starts_with("`0` is no port"));
    assert!(error("rdma://a:65536/nqn.a").starts_with("`65536` is no port"));
    assert!(error("rdma://a/iqn.a").starts_with("`iqn.a` is no NVMe qualified name"));
    assert!(error("file:100%").contains("two hexadecimal digits"));
    assert!(error("file:?size=1").starts_with("`` is no path"));
    assert!(error("file:a%00b").starts_with("`a%00b` is no path"));
    assert!(error("mirror:a/b").starts_with("`a/b` is no mirror's name"));
}

#[test]
fn bounds_hold() {
    let long = format!("file:{}", "a".repeat(URI_BYTES_MAX));
    assert_eq!(long.parse::<DeviceUri>(), Err(UriError::TooLong { bytes: URI_BYTES_MAX + 5 }));
    let nqn = |bytes: usize| format!("rdma://a/nqn.{}", "x".repeat(bytes - 4));
    assert!(nqn(NQN_BYTES_MAX).parse::<DeviceUri>().is_ok());
    assert!(nqn(NQN_BYTES_MAX + 1).parse::<DeviceUri>().is_err());
}

fn any_path() -> impl Strategy<Value = PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    proptest::collection::vec(1u8..=255, 1..40).prop_map(|bytes| std::ffi::OsString::from_vec(bytes).into())
}

fn any_host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| Host::V4(octets.into())),
        (any::<[u8; 16]>(), proptest::option::of("[a-z0-9._~-]{1,15}"))
            .prop_map(|(octets, zone)| Host::V6 { address: octets.into(), zone }),
        "[a-z][a-z0-9-]{0,9}(\\.[a-z0-9]{1,4}){0,2}".prop_map(Host::Name),
    ]
}

fn any_target() -> impl Strategy<Value = Target> {
    let address = (any::<u32>(), any::<u8>(), 0u8..32, 0u8..8)
        .prop_map(|(domain, bus, device, function)| PciAddress::new(domain, bus, device, function).unwrap());
    prop_oneof![
        (address, 1u32..u32::MAX).prop_map(|(address, nsid)| Target::Nvme { address, nsid: Nsid(nsid) }),
        proptest::option::of(any_path()).prop_map(|path| Target::SoftNvme { path }),
        any_path().prop_map(|path| Target::File { path }),
        any::<u64>().prop_map(|bytes| Target::Mem { bytes }),
        any::<Option<u64>>().prop_map(|bytes| Target::Null { bytes }),
        (any_host(), 1u16.., "nqn\\.[ -~ä]{0,100}").prop_map(|(host, port, nqn)| Target::Rdma {
            host,
            port,
            nqn
        }),
        "[A-Za-z0-9._-]{1,64}".prop_map(|name| Target::Mirror { name }),
    ]
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "(nvme|soft-nvme|file|mem|null|rdma|mirror|x)?:?(//)?[^\\n]{0,60}") {
        let _ = text.parse::<DeviceUri>();
    }

    #[test]
    fn what_is_written_is_read_back(
        target in any_target(),
        parameters in proptest::collection::btree_map(".{1,6}", ".{0,8}", 0..4),
    ) {
        let mut entries = Parameters::default();
        for (name, value) in &parameters {
            entries.insert(name, value).unwrap();
        }
        let uri = DeviceUri::new(target).with_parameters(entries);
        prop_assert_eq!(uri.to_string().parse::<DeviceUri>(), Ok(uri));
    }
}
