//! Namespaces that our driver cannot serve are refused with the reason, and left alone: blocks with metadata, zones, a
//! namespace that is attached to no controller, and one that is not there at all.

use super::drive;
use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::{Guest, Lab};
use crate::machine::{NS_DETACHED, NS_METADATA, NS_ZONED};

pub const SCENARIO: Scenario = Scenario {
    name: "unfit-namespaces",
    set: SMOKE,
    about: "namespaces with metadata or zones, and absent ones, are refused with the reason",
    story,
};

/// No namespace has this number.
const ABSENT: u32 = 9;

fn story(lab: &Lab) -> Result<()> {
    let mut guest = drive::ready(lab)?;
    let refusals: [(u32, &[&str]); 4] = [
        (NS_METADATA.nsid, &["8 bytes of metadata", "not supported"]),
        (NS_ZONED.nsid, &["zoned", "only the NVM command set is supported"]),
        (NS_DETACHED.nsid, &["there is no namespace 5"]),
        (ABSENT, &["there is no namespace 9"]),
    ];
    let unfit = [NS_METADATA.nsid, NS_ZONED.nsid, NS_DETACHED.nsid];
    let traffic = |guest: &mut Guest| unfit.map(|nsid| guest.qmp().traffic(nsid).ok());
    // The firmware has looked for something to boot from already.
    let before = traffic(&mut guest);
    for (nsid, words) in refusals {
        let outcome = guest.run_failing(&drive::bench(nsid, "", "--rw write --size 1m"))?;
        outcome.says(words)?;
    }
    let after = traffic(&mut guest);
    ensure(before == after && after.iter().all(Option::is_some), || {
        format!("refused namespaces were touched: {before:?}, then {after:?}")
    })
}
