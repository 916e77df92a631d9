//! What is said of one thing.

use clap::ValueEnum;
use serde::Serialize;

/// What a machine is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
#[value(rename_all = "lowercase")]
pub enum Use {
    /// Drives driven from userspace (nvme:)
    Nvme,
    /// RDMA adapters (--provider verbs)
    Rdma,
    /// RDMA in userspace, without an adapter (--provider soft)
    Soft,
    /// To export devices (remora-target)
    Target,
}

impl Use {
    pub(super) const ALL: [Self; 4] = [Self::Nvme, Self::Rdma, Self::Soft, Self::Target];

    /// As on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Rdma => "rdma",
            Self::Soft => "soft",
            Self::Target => "target",
        }
    }
}

/// How well it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Well.
    Ok,
    /// It works, and would work better.
    Advice,
    /// Without it the uses that it matters for cannot be.
    Missing,
}

impl State {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Missing => "missing",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) name: &'static str,
    pub(super) state: State,
    /// What there is.
    pub(super) found: String,
    /// What it is good for.
    pub(super) meaning: &'static str,
    /// The uses that it matters for.
    pub(super) uses: &'static [Use],
    /// What helps, if something is to be done.
    pub(super) mend: Option<String>,
}

impl Finding {
    pub(super) fn matters_for(&self, of: Use) -> bool {
        self.uses.contains(&of)
    }

    /// Whether this use cannot be.
    pub(super) fn rules_out(&self, of: Use) -> bool {
        self.state == State::Missing && self.matters_for(of)
    }
}

/// What is looked at, before it is known how it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) uses: &'static [Use],
}

impl Topic {
    pub(super) fn ok(self, found: impl Into<String>) -> Finding {
        self.finding(State::Ok, found.into(), None)
    }

    pub(super) fn advice(self, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(State::Advice, found.into(), Some(mend.into()))
    }

    pub(super) fn missing(self, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(State::Missing, found.into(), Some(mend.into()))
    }

    fn finding(self, state: State, found: String, mend: Option<String>) -> Finding {
        Finding { name: self.name, state, found, meaning: self.meaning, uses: self.uses, mend }
    }
}
