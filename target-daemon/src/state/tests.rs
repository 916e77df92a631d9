use std::path::Path;

use nvme_spec::Nsid;
use uuid::Uuid;

use super::*;
use crate::config::{Machine, from_toml};

/// Made by the first version; later ones must read it for ever.
const FIRST_VERSION: &[u8] = include_bytes!("../../tests/fixtures/changes-v1");

const A: &str = "nqn.2024-05.com.example:a";

fn key(nqn: &str, nsid: u32) -> NamespaceKey {
    NamespaceKey { nqn: nqn.parse().unwrap(), nsid: Nsid(nsid) }
}

fn namespace(device: &str) -> Namespace {
    Namespace { device: device.parse().unwrap(), read_only: false, uuid: None, nguid: None }
}

fn example() -> Changes {
    let id = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128;
    let full = Namespace {
        device: "file:/d?offset=1GiB".parse().unwrap(),
        read_only: true,
        uuid: Some(Uuid::from_u128(id)),
        nguid: Some(id.to_be_bytes()),
    };
    Changes {
        added: BTreeMap::from([(key(A, 2), namespace("mem:1MiB")), (key(A, 3), full)]),
        removed: BTreeSet::from([key(A, 1)]),
    }
}

fn config(namespaces: &[(u32, &str)]) -> Subsystems {
    let namespace = |(nsid, device): &(u32, &str)| {
        format!("[[subsystem.namespace]]\nnsid = {nsid}\ndevice = '{device}'\n")
    };
    let namespaces: String = namespaces.iter().map(namespace).collect();
    let text = format!("version = 1\n[[subsystem]]\nnqn = '{A}'\n{namespaces}");
    from_toml(&text, &Machine::named("m")).unwrap().subsystems
}

fn devices(subsystems: &Subsystems) -> Vec<(u32, String)> {
    let namespaces = subsystems.values().flat_map(|subsystem| &subsystem.namespaces);
    namespaces.map(|(nsid, namespace)| (nsid.0, namespace.device.to_string())).collect()
}

fn write(folder: &Path, bytes: &[u8]) {
    std::fs::write(folder.join("changes"), bytes).unwrap();
}

fn refusal(folder: &Path) -> String {
    Store::open(folder).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn the_first_version_is_read_for_ever() {
    assert_eq!(FIRST_VERSION[..8], *b"REMORTGT");
    assert_eq!(format::decode(FIRST_VERSION).unwrap(), example());
    assert_eq!(format::encode(&example()).unwrap(), FIRST_VERSION, "and still written so");
}

#[test]
fn any_flipped_bit_and_any_lost_byte_is_seen() {
    for at in 0..FIRST_VERSION.len() {
        let mut bytes = FIRST_VERSION.to_vec();
        // Of compatible features too: the checksum covers them.
        bytes[at] ^= 0x10;
        assert!(format::decode(&bytes).is_err(), "byte {at}");
        assert!(format::decode(&FIRST_VERSION[..at]).is_err(), "{at} bytes");
    }
}

#[test]
fn what_a_later_version_wrote_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = FIRST_VERSION.to_vec();
    bytes[8] = 2;
    write(folder.path(), &bytes);
    assert!(refusal(folder.path()).contains("it has version 2, and this program knows version 1"));
    write(folder.path(), b"hello");
    let said = refusal(folder.path());
    assert!(said.contains("changes: this is no file of changes"), "{said}");
    assert!(said.contains("move it away to start with what the configuration says"), "{said}");
}

#[test]
fn what_was_saved_is_there_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep").join("state");
    let (store, changes) = Store::open(&path).unwrap();
    assert_eq!(changes, Changes::default());
    store.save(&example()).unwrap();
    assert!(refusal(&path).contains("another target uses it"));
    drop(store);
    let (store, changes) = Store::open(&path).unwrap();
    assert_eq!(changes, example());
    store.save(&Changes::default()).unwrap();
    drop(store);
    assert_eq!(Store::open(&path).unwrap().1, Changes::default());
}

#[test]
fn a_crash_while_writing_leaves_the_former_changes() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), FIRST_VERSION);
    std::fs::write(folder.path().join("changes.new"), &FIRST_VERSION[..17]).unwrap();
    let (store, changes) = Store::open(folder.path()).unwrap();
    assert_eq!(changes, example());
    store.save(&Changes::default()).unwrap();
    assert!(!folder.path().join("changes.new").exists());
}

#[test]
fn changes_stand_above_the_configuration() {
    let configured = config(&[(1, "mem:1MiB"), (2, "mem:2MiB")]);
    let mut changes = Changes::default();
    changes.remove(key(A, 1), &configured);
    changes.add(key(A, 5), namespace("mem:5MiB"), &configured);
    let wanted = [(2, "mem:2MiB".to_owned()), (5, "mem:5MiB".to_owned())];
    assert_eq!(devices(&changes.merged(&configured)), wanted);
    // Another device under a number of the configuration.
    changes.add(key(A, 1), namespace("mem:9MiB"), &configured);
    assert_eq!(devices(&changes.merged(&configured))[0], (1, "mem:9MiB".to_owned()));
    assert_eq!(changes.settle(&configured), [""; 0]);
    assert_eq!(devices(&changes.merged(&configured))[0], (1, "mem:9MiB".to_owned()));
    // And back: nothing is left to be remembered.
    changes.remove(key(A, 1), &configured);
    changes.add(key(A, 1), namespace("mem:1MiB"), &configured);
    changes.remove(key(A, 5), &configured);
    assert_eq!(changes, Changes::default());
}

#[test]
fn a_new_configuration_settles_what_it_says_itself() {
    let mut changes = example();
    // 1 is configured no longer; 2 is there with another device; 3 is not.
    let words = changes.settle(&config(&[(2, "mem:2MiB")]));
    let expected =
        format!("namespace 2 of {A}: the configuration has mem:2MiB there now, no longer mem:1MiB");
    assert_eq!(words, [expected]);
    assert_eq!(changes.removed, BTreeSet::new());
    assert_eq!(changes.added.keys().collect::<Vec<_>>(), [&key(A, 3)]);
    let words = changes.settle(&Subsystems::new());
    let expected = format!("namespace 3 of {A} is kept aside: the configuration has no such subsystem");
    assert_eq!(words, [expected]);
    assert_eq!(changes.merged(&Subsystems::new()), Subsystems::new());
    assert_eq!(changes.added.len(), 1, "a mistake in the configuration forgets nothing");
}
