//! From what is wanted to what is served: which steps lead there, and how a device becomes a namespace.
//!
//! - `steps`: the difference between what is served and what is wanted, as steps; nothing else is touched.
//! - `open`: a device as a namespace: opened, claimed, told.
//! - `serving`: carries steps out.

mod open;
mod serving;
mod steps;
#[cfg(test)]
mod tests;

use std::fmt;

use nvme_spec::Nsid;
use nvmf::wire::Nqn;

pub(crate) use serving::{Serving, StepError};
pub(crate) use steps::{Plan, Subsystems};

/// Names a namespace of a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NamespaceKey {
    /// The subsystem.
    pub(crate) nqn: Nqn,
    /// Its number there.
    pub(crate) nsid: Nsid,
}

impl fmt::Display for NamespaceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespace {} of {}", self.nsid, self.nqn)
    }
}
