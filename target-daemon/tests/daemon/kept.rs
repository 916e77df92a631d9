//! What outlives the process: identities, and changes made at run time.

use std::collections::BTreeMap;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use target_daemon::control::client::Client;
use target_daemon::control::protocol::{Changed, Reply};
use target_daemon::control::status::{IoStatus, SubsystemStatus};

use crate::rig::{Place, Target, add, remove};

/// Who a target and its namespaces are.
fn identity(target: &Target) -> SubsystemStatus {
    let mut subsystem = target.status().subsystems.remove(0);
    subsystem.namespaces.iter_mut().for_each(|namespace| namespace.io = IoStatus::default());
    subsystem
}

#[test]
fn identities_and_changes_outlive_the_process_however_it_ends() {
    let place = Place::new();
    let image = format!("soft-nvme:{}?size=16MiB", place.path("d.img").display());
    let start = || place.start(&["--listen", "127.0.71.1", "--namespace", &image, "--namespace", "mem:1MiB"]);
    let mut target = start();
    let changed = |nsid| Changed { nqn: target.nqn(), nsid, is_kept: true };
    assert_eq!(target.ask(&add(7, "mem:7MiB")), Reply::NamespaceAdded(changed(7)));
    assert_eq!(target.ask(&remove(2)), Reply::NamespaceRemoved(changed(2)));
    let before = identity(&target);
    assert_eq!(target.devices(), [(1, image.clone()), (7, "mem:7MiB".to_owned())]);
    target.signal(Signal::TERM);
    assert_eq!(target.wait().code(), Some(0));
    let target = start();
    assert_eq!(identity(&target), before);
    target.kill();
    let target = start();
    assert_eq!(identity(&target), before);
    // Back to what the command line says.
    assert!(matches!(target.ask(&remove(7)), Reply::NamespaceRemoved(_)));
    assert!(matches!(target.ask(&add(2, "mem:1MiB")), Reply::NamespaceAdded(_)));
    target.kill();
    assert_eq!(start().devices(), [(1, image), (2, "mem:1MiB".to_owned())]);
}

#[test]
fn requests_that_cannot_be_are_refused_and_change_nothing() {
    let place = Place::new();
    let image = format!("file:{}?size=1MiB&direct=0", place.path("d.img").display());
    let target = place.start(&["--listen", "127.0.71.2", "--namespace", &image]);
    let refused = |request| match target.ask(&request) {
        Reply::Error { message } => message,
        other => panic!("{other:?}"),
    };
    assert!(refused(add(1, "mem:1MiB")).ends_with("is there already"));
    assert!(refused(add(2, &image)).contains("a device has one writable owner"));
    assert!(refused(add(2, "mem:1MB")).contains("`MB` in `1MB` is no unit"));
    assert!(refused(add(2, "file:/nowhere/d")).contains("not found"));
    assert!(refused(add(0, "mem:1MiB")).contains("numbers are 1 to 1024"));
    assert!(refused(add(1025, "mem:1MiB")).contains("numbers are 1 to 1024"));
    assert!(refused(remove(2)).starts_with("there is no namespace 2 of nqn."));
    assert_eq!(target.devices(), [(1, image.clone())]);
    target.kill();
    let target = place.start(&["--listen", "127.0.71.2", "--namespace", &image]);
    assert_eq!(target.devices(), [(1, image)], "nothing of it was kept");
}

#[test]
fn damaged_changes_are_refused_in_words() {
    let place = Place::new();
    let arguments = ["--listen", "127.0.71.3", "--namespace", "mem:1MiB"];
    let target = place.start(&arguments);
    target.ask(&add(7, "mem:7MiB"));
    target.kill();
    let path = place.path("state").join("changes");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let failed = place.try_start(&arguments).err().unwrap();
    assert_eq!(failed.code, Some(1));
    assert!(failed.log.contains("it is damaged: its checksum is wrong"), "{}", failed.log);
    assert!(failed.log.contains("move it away to start with what the configuration says"), "{}", failed.log);
    std::fs::rename(&path, place.path("aside")).unwrap();
    assert_eq!(place.start(&arguments).devices(), [(1, "mem:1MiB".to_owned())]);
}

/// Rounds of the following story; in each the process is killed a little later than in the one before.
const ROUNDS: u64 = 10;

/// Numbers that are added and removed in turn.
const NSIDS: std::ops::RangeInclusive<u32> = 2..=5;

/// The process is killed while changes are written, again and again. What was acknowledged is there at the next start; of the
/// one request that was not answered, either state will do.
#[test]
fn a_kill_while_changes_are_written_loses_nothing_acknowledged() {
    let place = Place::new();
    let mut expected: BTreeMap<u32, bool> = NSIDS.map(|nsid| (nsid, false)).collect();
    let mut acknowledged = 0;
    for round in 0..ROUNDS {
        let target = place.start(&["--listen", "127.0.71.4", "--namespace", "mem:1MiB"]);
        let there: Vec<u32> = target.devices().into_iter().map(|(nsid, _)| nsid).collect();
        for (nsid, is_there) in &expected {
            assert_eq!(there.contains(nsid), *is_there, "namespace {nsid} in round {round}");
        }
        let control = target.control().to_owned();
        let unanswered = thread::scope(|scope| {
            let changes = scope.spawn(|| change(&control, &mut expected, &mut acknowledged));
            thread::sleep(Duration::from_millis(3 + 7 * round));
            target.signal(Signal::KILL);
            changes.join().unwrap()
        });
        drop(target);
        if let Some(nsid) = unanswered {
            // Either will do: what it is counts from now on.
            let target = place.start(&["--listen", "127.0.71.4", "--namespace", "mem:1MiB"]);
            let is_there = target.devices().iter().any(|(other, _)| *other == nsid);
            expected.insert(nsid, is_there);
        }
    }
    assert!(acknowledged > ROUNDS, "only {acknowledged} changes were made");
}

/// Adds and removes until the target is gone; which number has no answer.
fn change(control: &Path, expected: &mut BTreeMap<u32, bool>, acknowledged: &mut u64) -> Option<u32> {
    let mut client = Client::connect(control).ok()?;
    for nsid in NSIDS.cycle() {
        let is_there = expected[&nsid];
        let request = if is_there { remove(nsid) } else { add(nsid, "mem:1MiB") };
        match client.ask(&request) {
            Ok(Reply::Error { message }) => panic!("{message}"),
            Ok(_) => {
                expected.insert(nsid, !is_there);
                *acknowledged += 1;
            }
            Err(_) => return Some(nsid),
        }
    }
    None
}
