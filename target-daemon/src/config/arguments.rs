//! The shortest start: a target from its command line, without a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::SocketAddr;

use nvme_spec::Nsid;
use nvmf::controller::limits::{LISTENERS_MAX, NAMESPACES_MAX};
use nvmf::controller::{CONTROLLER_IDS, Limits};
use nvmf::wire::Nqn;
use rdma::ProviderChoice;
use tracing::Level;

use crate::engine::{BufferOptions, Poll};

use super::check::MODEL_DEFAULT;
use super::names::Machine;
use super::problem::{Place, Problem};
use super::values::{LISTENER_DEFAULT, read_device, read_listener};
use super::{Config, ControlPath, DRAIN_TIMEOUT_DEFAULT, Hosts, Namespace, Subsystem, first_overlap};

/// What stands on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shortest {
    /// `--listen`, as often as given.
    pub(crate) listen: Vec<String>,
    /// `--namespace`, as often as given: numbered from 1.
    pub(crate) namespaces: Vec<String>,
    /// `--nqn`.
    pub(crate) nqn: Option<String>,
    /// `--host`, as often as given.
    pub(crate) hosts: Vec<String>,
    /// `--allow-any-host`.
    pub(crate) allow_any_host: bool,
    /// `--provider`.
    pub(crate) provider: ProviderChoice,
}

/// One subsystem with these namespaces.
pub(crate) fn from_arguments(of: &Shortest, machine: &Machine) -> Result<Config, Vec<Problem>> {
    let mut problems = Vec::new();
    let listeners = listeners(of, &mut problems);
    let nqn = match of.nqn.as_deref() {
        Some(text) => take(&mut problems, "--nqn", text.parse()),
        None => Some(machine.nqn(&listeners)),
    };
    let hosts: BTreeSet<Nqn> =
        of.hosts.iter().filter_map(|text| take(&mut problems, "--host", text.parse())).collect();
    let namespaces = namespaces(&of.namespaces, &mut problems);
    match nqn {
        Some(nqn) if problems.is_empty() => {
            let subsystem = Subsystem {
                serial: machine.serial(&nqn),
                model: MODEL_DEFAULT.to_owned(),
                controller_ids: CONTROLLER_IDS,
                hosts: Hosts { any: of.allow_any_host, listed: hosts },
                namespaces,
            };
            Ok(config(of, listeners, nqn, subsystem))
        }
        _ => Err(problems),
    }
}

fn config(of: &Shortest, listeners: Vec<SocketAddr>, nqn: Nqn, subsystem: Subsystem) -> Config {
    Config {
        listeners,
        provider: of.provider,
        reactors: vec![None],
        poll: Poll::default(),
        buffers: BufferOptions::default(),
        limits: Limits::default(),
        metrics: None,
        control: ControlPath::default(),
        state_dir: None,
        log: Level::INFO,
        drain_timeout: DRAIN_TIMEOUT_DEFAULT,
        subsystems: BTreeMap::from([(nqn, subsystem)]),
    }
}

fn listeners(of: &Shortest, problems: &mut Vec<Problem>) -> Vec<SocketAddr> {
    let mut listeners: Vec<SocketAddr> =
        of.listen.iter().filter_map(|text| take(problems, "--listen", read_listener(text))).collect();
    listeners.sort();
    listeners.dedup();
    if listeners.len() > LISTENERS_MAX {
        note(problems, "--listen", format_args!("more than {LISTENERS_MAX}"));
    }
    if of.listen.is_empty() { vec![LISTENER_DEFAULT] } else { listeners }
}

fn namespaces(of: &[String], problems: &mut Vec<Problem>) -> BTreeMap<Nsid, Namespace> {
    let mut namespaces = BTreeMap::new();
    for (text, nsid) in of.iter().zip(1..) {
        let Some(device) = take(problems, "--namespace", read_device(text, None, None)) else { continue };
        let namespace = Namespace { device, read_only: false, uuid: None, nguid: None };
        if let Some(other) = first_overlap(&namespace, &namespaces) {
            note(problems, "--namespace", format_args!("{text} is (partly) that of namespace {other} too"));
        }
        namespaces.insert(Nsid(nsid), namespace);
    }
    if of.len() > NAMESPACES_MAX as usize {
        note(problems, "--namespace", format_args!("more than {NAMESPACES_MAX}"));
    }
    namespaces
}

fn take<T>(problems: &mut Vec<Problem>, argument: &'static str, value: Result<T, impl Display>) -> Option<T> {
    value.map_err(|error| note(problems, argument, error)).ok()
}

fn note(problems: &mut Vec<Problem>, argument: &'static str, message: impl Display) {
    problems.push(Problem { place: Place::Argument(argument), message: message.to_string() });
}
