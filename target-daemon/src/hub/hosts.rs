//! Hosts that have attached, by number: what fairness and counters go by.

use std::sync::Arc;

use nvmf::wire::Nqn;

use crate::engine::{HostView, IoCounters};
use crate::reactor::Cells;

/// Hosts without a controller whose counters are kept at most.
const IDLE_MAX: usize = 1024;

/// Names a host while it has a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostSlot(pub(crate) u32);

#[derive(Debug)]
struct Host {
    nqn: Nqn,
    controllers: usize,
    /// By reactor.
    cells: Vec<Option<Arc<Cells>>>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Hosts {
    slots: Vec<Option<Host>>,
    reactors: usize,
}

impl Hosts {
    pub(super) const fn new(reactors: usize) -> Self {
        Self { slots: Vec::new(), reactors }
    }

    /// A controller of this host came.
    pub(super) fn attached(&mut self, nqn: &Nqn) -> HostSlot {
        let known = |slot: &Option<Host>| slot.as_ref().is_some_and(|host| host.nqn == *nqn);
        let index = self.slots.iter().position(known).unwrap_or_else(|| self.insert(nqn));
        if let Some(host) = &mut self.slots[index] {
            host.controllers += 1;
        }
        HostSlot(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn insert(&mut self, nqn: &Nqn) -> usize {
        let idle = |slot: &Option<Host>| slot.as_ref().is_some_and(|host| host.controllers == 0);
        if self.slots.iter().filter(|slot| idle(slot)).count() >= IDLE_MAX
            && let Some(forgotten) = self.slots.iter().position(idle)
        {
            self.slots[forgotten] = None;
        }
        let host = Host { nqn: nqn.clone(), controllers: 0, cells: vec![None; self.reactors] };
        match self.slots.iter().position(Option::is_none) {
            Some(free) => {
                self.slots[free] = Some(host);
                free
            }
            None => {
                self.slots.push(Some(host));
                self.slots.len() - 1
            }
        }
    }

    /// A controller of this host is gone.
    pub(super) fn detached(&mut self, slot: HostSlot) {
        if let Some(host) = self.get_mut(slot) {
            host.controllers = host.controllers.saturating_sub(1);
        }
    }

    fn get_mut(&mut self, slot: HostSlot) -> Option<&mut Host> {
        self.slots.get_mut(usize::try_from(slot.0).ok()?)?.as_mut()
    }

    /// What a reactor counts in for this host.
    pub(super) fn cells(&mut self, slot: HostSlot, reactor: usize) -> Arc<Cells> {
        let cell = self.get_mut(slot).and_then(|host| host.cells.get_mut(reactor));
        cell.map_or_else(Arc::default, |cell| Arc::clone(cell.get_or_insert_default()))
    }

    pub(super) fn views(&self) -> Vec<HostView> {
        let view = |host: &Host| {
            let mut io = IoCounters::default();
            host.cells.iter().flatten().for_each(|cells| io.add(&cells.read()));
            HostView { nqn: host.nqn.clone(), io }
        };
        self.slots.iter().flatten().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nqn(number: usize) -> Nqn {
        format!("nqn.2024-05.com.example:host{number}").parse().unwrap()
    }

    #[test]
    fn a_host_keeps_its_number_while_it_is_known() {
        let mut hosts = Hosts::new(2);
        let first = hosts.attached(&nqn(1));
        assert_eq!(hosts.attached(&nqn(1)), first);
        assert_ne!(hosts.attached(&nqn(2)), first);
        hosts.detached(first);
        hosts.detached(first);
        assert_eq!(hosts.attached(&nqn(1)), first);
        let (here, again) = (hosts.cells(first, 0), hosts.cells(first, 0));
        assert!(Arc::ptr_eq(&here, &again));
        assert!(!Arc::ptr_eq(&here, &hosts.cells(first, 1)), "each reactor has its own");
    }

    #[test]
    fn names_without_end_do_not_fill_memory() {
        let mut hosts = Hosts::new(1);
        let kept = hosts.attached(&nqn(0));
        for number in 1..3 * IDLE_MAX {
            let slot = hosts.attached(&nqn(number));
            hosts.detached(slot);
        }
        assert!(hosts.slots.len() <= IDLE_MAX + 2);
        assert_eq!(hosts.attached(&nqn(0)), kept, "one that is attached is not forgotten");
    }
}
