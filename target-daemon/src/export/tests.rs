use std::collections::BTreeSet;

use block::{Abilities, OpenError, Openers};
use nvme_spec::Nsid;
use nvmf::wire::Nqn;
use uuid::Uuid;

use super::open::{OpenExportError, Opened, open};
use super::steps::Step;
use super::*;
use crate::config::{Hosts, Machine, Namespace, from_toml};
use crate::devices::openers;

const A: &str = "nqn.2024-05.com.example:a";
const B: &str = "nqn.2024-05.com.example:b";

fn nqn(text: &str) -> Nqn {
    text.parse().unwrap()
}

fn key(name: &str, nsid: u32) -> NamespaceKey {
    NamespaceKey { nqn: nqn(name), nsid: Nsid(nsid) }
}

fn namespace(device: &str) -> Namespace {
    Namespace { device: device.parse().unwrap(), read_only: false, uuid: None, nguid: None }
}

fn config(text: &str) -> Subsystems {
    from_toml(&format!("version = 1\n{text}"), &Machine::named("m")).unwrap().subsystems
}

fn subsystem(name: &str, keys: &str, namespaces: &[(u32, &str)]) -> String {
    let namespace = |(nsid, device): &(u32, &str)| {
        format!("[[subsystem.namespace]]\nnsid = {nsid}\ndevice = '{device}'\n")
    };
    let namespaces: String = namespaces.iter().map(namespace).collect();
    format!("[[subsystem]]\nnqn = '{name}'\n{keys}\n{namespaces}")
}

#[test]
fn nothing_is_touched_that_is_the_same() {
    let served = config(&subsystem(A, "", &[(1, "mem:1MiB"), (2, "mem:2MiB")]));
    assert_eq!(Plan::between(&served, &served), Plan::default());
}

#[test]
fn what_goes_makes_room_for_what_comes() {
    let served = config(&(subsystem(A, "", &[(1, "file:/d"), (2, "mem:2MiB")]) + &subsystem(B, "", &[])));
    let wanted = config(&subsystem(A, "allow_any_host = true", &[(2, "mem:2MiB"), (3, "file:/d")]));
    let plan = Plan::between(&served, &wanted);
    let expected = [
        Step::RemoveNamespace(key(A, 1)),
        Step::RemoveSubsystem(nqn(B)),
        Step::SetHosts(nqn(A), Hosts { any: true, listed: BTreeSet::new() }),
        Step::AddNamespace(key(A, 3), namespace("file:/d")),
    ];
    assert_eq!(plan.steps, expected);
    assert_eq!(plan.needs_restart, [""; 0]);
}

#[test]
fn another_device_under_a_number_is_another_namespace() {
    let served = config(&subsystem(A, "", &[(1, "mem:1MiB")]));
    let wanted = config(&subsystem(A, "", &[(1, "mem:2MiB")]));
    let expected = [Step::RemoveNamespace(key(A, 1)), Step::AddNamespace(key(A, 1), namespace("mem:2MiB"))];
    assert_eq!(Plan::between(&served, &wanted).steps, expected);
}

#[test]
fn a_subsystem_comes_before_its_namespaces() {
    let wanted = config(&subsystem(A, "", &[(1, "mem:1MiB")]));
    let plan = Plan::between(&Subsystems::new(), &wanted);
    assert!(
        matches!(&plan.steps[0], Step::AddSubsystem(name, empty) if *name == nqn(A) && empty.namespaces.is_empty())
    );
    assert_eq!(plan.steps[1..], [Step::AddNamespace(key(A, 1), namespace("mem:1MiB"))]);
}

#[test]
fn what_attached_hosts_have_read_needs_a_restart() {
    let served = config(&subsystem(A, "serial = 'S1'", &[]));
    let wanted = config(&subsystem(A, "serial = 'S2'\nmodel = 'M'\ncntlid = [1, 2]", &[]));
    let plan = Plan::between(&served, &wanted);
    assert_eq!(plan.steps, []);
    let words = ["serial", "model", "cntlid"].map(|key| format!("subsystem {A}: {key}"));
    assert_eq!(plan.needs_restart, words);
}

fn opened(namespace: &Namespace) -> Result<Opened, OpenExportError> {
    open(&openers(), &Machine::named("m"), &key(A, 1), namespace)
}

#[test]
fn memory_keeps_its_identity() {
    for device in ["mem:1MiB", "null:1MiB", "soft-nvme:?size=1MiB"] {
        let [first, second] = [(); 2].map(|()| opened(&namespace(device)).unwrap().info);
        assert_eq!(first, second, "{device}");
        assert!(first.uuid.is_some());
        let other = open(&openers(), &Machine::named("m"), &key(B, 1), &namespace(device)).unwrap();
        assert_ne!(first.uuid, other.info.uuid, "{device}: another subsystem's is another");
    }
}

#[test]
fn a_device_tells_who_it_is_unless_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let device = format!("soft-nvme:{}?size=1MiB", folder.path().join("d").display());
    let own = opened(&namespace(&device)).unwrap().info;
    assert!(own.uuid.is_some() && own.nguid.is_some());
    assert_eq!(opened(&namespace(&device)).unwrap().info, own, "the same after a restart");
    let uuid = Uuid::from_u128(7);
    let told = Namespace { uuid: Some(uuid), ..namespace(&device) };
    let told = opened(&told).unwrap().info;
    assert_eq!((told.uuid, told.nguid, told.eui64), (Some(uuid), None, None), "nothing of its own is left");
}

#[test]
fn hosts_share_no_reservations() {
    let device = openers().open_text("soft-nvme:?size=1MiB", &block::OpenOptions::READ_WRITE).unwrap();
    assert!(device.abilities().contains(Abilities::RESERVATIONS));
    let exported = opened(&namespace("soft-nvme:?size=1MiB")).unwrap().info;
    assert_eq!(exported.abilities, device.abilities() - Abilities::RESERVATIONS);
    assert!(exported.abilities.contains(Abilities::WRITE));
}

#[test]
fn a_device_for_reading_is_exported_so() {
    let reader = Namespace { read_only: true, ..namespace("mem:1MiB") };
    let changing = Abilities::WRITE | Abilities::WRITE_ZEROES | Abilities::DISCARD;
    assert!(!opened(&reader).unwrap().info.abilities.intersects(changing));
    // A device that takes no writes although it was opened for them.
    let mut openers = Openers::default();
    let as_reader = |_: &block::DeviceUri, _: &block::OpenOptions| {
        Openers::with_builtin().open_text("mem:1MiB", &block::OpenOptions::READ)
    };
    openers.register(block::Scheme::Mem, Box::new(as_reader));
    let refused = open(&openers, &Machine::named("m"), &key(A, 1), &namespace("mem:1MiB"));
    let said = refused.map(|_| ()).unwrap_err().to_string();
    assert_eq!(said, "mem:1MiB takes no writes: say `read_only = true` to export it so");
}

#[test]
fn blocks_have_one_owner() {
    let folder = tempfile::tempdir().unwrap();
    let device = format!("file:{}?size=1MiB&direct=0", folder.path().join("d").display());
    let first = opened(&namespace(&device)).unwrap();
    let second = opened(&namespace(&device)).map(|_| ());
    assert!(matches!(second, Err(OpenExportError::Open(OpenError::InUse { .. }))), "{second:?}");
    let whole = block::BlockRange::new(block::Lba(0), 1);
    let claim = first.device.claims().claim(whole, block::Access::Read, "somebody").unwrap_err();
    assert!(claim.to_string().ends_with(&format!("in use by namespace 1 of {A}")), "{claim}");
}
