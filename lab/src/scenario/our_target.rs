//! Our target in a pair's left guest, with Linux's host in the right one.

use super::linux_host::{self, Remote, succeeded};
use crate::error::{Result, ensure};
use crate::guest::{Guest, Pair, Task};

/// What the target's memory may grow while hosts come and go.
const GROWTH_MAX_KIB: u64 = 1024;

/// Hosts that came before, for everything that is kept from one connection to the next.
const FIRST_CONNECTS: u32 = 10;

/// How our target is started.
#[derive(Clone, Copy, Debug)]
pub struct OurTarget {
    /// Its subsystem.
    pub remote: Remote,
    /// More options; of its namespaces, the second is one that outlives the target.
    pub options: &'static str,
}

/// The namespace that outlives the target.
pub const LASTING: u32 = 2;

impl OurTarget {
    /// Starts it, until it says that it is ready.
    pub fn starts(self, guest: &mut Guest) -> Result<Task> {
        let Remote { nqn, address, bytes } = self.remote;
        let target = guest.start(&format!(
            "exec remora-target --listen {address} --nqn {nqn} --allow-any-host --namespace mem:{}MiB {}",
            bytes >> 20,
            self.options
        ))?;
        guest.await_output(&target, "ready")?;
        Ok(target)
    }

    /// It is killed while the host writes, and comes again. The host holds what it had in flight until it is connected again; what
    /// was acknowledged before is there after.
    pub fn is_killed_under_load(self, pair: &mut Pair, target: Task) -> Result<Task> {
        let nqn = self.remote.nqn;
        let disk = format!("$(remote_disk {nqn} {LASTING})");
        let run = pair.right.start(&format!("verified {disk} 4k 16m --numjobs=1 --rate=1m"))?;
        pair.right.run(&format!("since={disk}; written $since 2"))?;
        pair.left.run("kill -9 $(pidof remora-target)")?;
        ensure(succeeded(&mut pair.left, target).is_err(), || {
            "a target that was killed ended well".to_owned()
        })?;
        pair.right.run(&format!("becomes {nqn} connecting; pidof fio >/dev/null"))?;
        let target = self.starts(&mut pair.left)?;
        pair.right.run(&format!("becomes {nqn} live; pidof fio >/dev/null"))?;
        succeeded(&mut pair.right, run)?;
        Ok(target)
    }

    /// Hosts that come and go leave neither descriptors nor memory behind.
    pub fn forgets_hosts(self, pair: &mut Pair, connects: u32) -> Result<()> {
        self.remote.comes_and_goes(&mut pair.right, FIRST_CONNECTS)?;
        let before = held(&mut pair.left)?;
        self.remote.comes_and_goes(&mut pair.right, connects - FIRST_CONNECTS)?;
        let after = held(&mut pair.left)?;
        let grown = after.1.saturating_sub(before.1);
        ensure(after.0 <= before.0 && grown <= GROWTH_MAX_KIB, || {
            format!("after {connects} connects from {before:?} to {after:?} descriptors and KiB")
        })
    }

    /// Told to end, it ends well.
    pub fn ends(self, guest: &mut Guest, target: Task) -> Result<()> {
        guest.run("kill $(pidof remora-target)")?;
        succeeded(guest, target)?;
        linux_host::is_content(guest, "")
    }
}

/// The target's descriptors, and its memory in KiB.
fn held(guest: &mut Guest) -> Result<(u64, u64)> {
    let counts = guest.run(
        "target=/proc/$(pidof remora-target); ls $target/fd | wc -l; awk '/VmRSS/ { print $2 }' $target/status",
    )?;
    let mut counts = counts.split_whitespace().map(|count| count.parse().unwrap_or_default());
    Ok((counts.next().unwrap_or_default(), counts.next().unwrap_or_default()))
}
