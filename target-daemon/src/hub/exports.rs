//! Exported devices, by number: the number is the same on all reactors, each of which has a queue of its own.

use std::collections::BTreeMap;
use std::mem::discriminant;
use std::sync::Arc;

use block::BlockDevice;
use nvme_spec::Nsid;
use nvmf::wire::Nqn;

use crate::engine::{DeviceNews, EXPORTS_MAX, IoCounters, NamespaceView};
use crate::reactor::Cells;

/// Names an exported device. Not given again before every reactor has closed its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ExportSlot(pub(crate) u32);

impl ExportSlot {
    /// No device's.
    pub(crate) const NONE: Self = Self(u32::MAX);

    /// As an index.
    #[inline]
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A subsystem's devices at one moment, by namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExportMap {
    slots: Vec<Option<ExportSlot>>,
}

impl ExportMap {
    /// The device behind a namespace.
    #[inline]
    pub(crate) fn get(&self, nsid: Nsid) -> Option<ExportSlot> {
        let index = usize::try_from(nsid.0.checked_sub(1)?).ok()?;
        self.slots.get(index).copied().flatten()
    }

    fn with(&self, nsid: Nsid, slot: Option<ExportSlot>) -> Arc<Self> {
        let Some(index) = nsid.0.checked_sub(1).and_then(|index| usize::try_from(index).ok()) else {
            return Arc::new(self.clone());
        };
        let mut slots = self.slots.clone();
        slots.resize(slots.len().max(index + 1), None);
        slots[index] = slot;
        Arc::new(Self { slots })
    }
}

pub(super) struct Export {
    pub(super) subsystem: Nqn,
    pub(super) nsid: Nsid,
    device: Arc<dyn BlockDevice>,
    /// By reactor.
    cells: Vec<Arc<Cells>>,
    /// The newest of each kind that was told.
    told: Vec<DeviceNews>,
    is_device_removed: bool,
    /// Whether hosts can see it.
    is_shown: bool,
}

impl Export {
    /// What is to be told of this, if it is new: every reactor hears of it by its own queue. Of sizes the newest one counts,
    /// in whatever order reactors come to it.
    pub(super) fn note(&mut self, news: DeviceNews) -> Option<DeviceNews> {
        let news = match news {
            DeviceNews::Resized(_) => DeviceNews::Resized(self.device.geometry()),
            other => other,
        };
        if self.told.contains(&news) {
            return None;
        }
        self.is_device_removed |= news == DeviceNews::Removed;
        self.told.retain(|told| discriminant(told) != discriminant(&news));
        self.told.push(news);
        Some(news)
    }
}

/// All of them.
#[derive(Default)]
pub(super) struct Exports {
    slots: Vec<Option<Export>>,
    maps: BTreeMap<Nqn, Arc<ExportMap>>,
}

impl Exports {
    /// A number for a device, whose queues can then be opened. `None` if there are as many as can be.
    pub(super) fn reserve(
        &mut self,
        subsystem: &Nqn,
        nsid: Nsid,
        device: Arc<dyn BlockDevice>,
    ) -> Option<ExportSlot> {
        let export = Export {
            subsystem: subsystem.clone(),
            nsid,
            device,
            cells: Vec::new(),
            told: Vec::new(),
            is_device_removed: false,
            is_shown: false,
        };
        let index = match self.slots.iter().position(Option::is_none) {
            Some(free) => free,
            None if self.slots.len() < EXPORTS_MAX => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => return None,
        };
        self.slots[index] = Some(export);
        Some(ExportSlot(u32::try_from(index).ok()?))
    }

    /// All reactors have a queue: commands may come.
    pub(super) fn show(&mut self, slot: ExportSlot, cells: Vec<Arc<Cells>>) {
        let Some(export) = self.slots.get_mut(slot.index()).and_then(Option::as_mut) else { return };
        (export.cells, export.is_shown) = (cells, true);
        let map = self.maps.entry(export.subsystem.clone()).or_default();
        *map = map.with(export.nsid, Some(slot));
    }

    /// No more commands are to come.
    pub(super) fn hide(&mut self, subsystem: &Nqn, nsid: Nsid) -> Option<ExportSlot> {
        let map = self.maps.get_mut(subsystem)?;
        let slot = map.get(nsid)?;
        *map = map.with(nsid, None);
        if let Some(export) = self.slots.get_mut(slot.index()).and_then(Option::as_mut) {
            export.is_shown = false;
        }
        Some(slot)
    }

    /// No more commands are to come for any namespace of a subsystem.
    pub(super) fn hide_all(&mut self, subsystem: &Nqn) -> Vec<(ExportSlot, Nsid)> {
        let Some(map) = self.maps.remove(subsystem) else { return Vec::new() };
        let mut hidden = Vec::new();
        for slot in map.slots.iter().flatten() {
            if let Some(export) = self.get_mut(*slot) {
                export.is_shown = false;
                hidden.push((*slot, export.nsid));
            }
        }
        hidden
    }

    /// No reactor has a queue any more: the device is let go.
    pub(super) fn release(&mut self, slot: ExportSlot) {
        if let Some(entry) = self.slots.get_mut(slot.index()) {
            *entry = None;
        }
    }

    pub(super) fn map(&self, subsystem: &Nqn) -> Arc<ExportMap> {
        self.maps.get(subsystem).map_or_else(Arc::default, Arc::clone)
    }

    pub(super) fn get_mut(&mut self, slot: ExportSlot) -> Option<&mut Export> {
        self.slots.get_mut(slot.index())?.as_mut()
    }

    pub(super) fn views(&self) -> Vec<NamespaceView> {
        let view = |export: &Export| {
            let mut io = IoCounters::default();
            export.cells.iter().for_each(|cells| io.add(&cells.read()));
            NamespaceView {
                subsystem: export.subsystem.clone(),
                nsid: export.nsid,
                device: export.device.name().to_owned(),
                geometry: export.device.geometry(),
                is_device_removed: export.is_device_removed,
                io,
            }
        };
        self.slots.iter().flatten().filter(|export| export.is_shown).map(view).collect()
    }
}

impl std::fmt::Debug for Exports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exports").field("maps", &self.maps).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Openers;

    fn device() -> Arc<dyn BlockDevice> {
        Openers::with_builtin().open_text("null:1MiB", &block::OpenOptions::READ_WRITE).unwrap()
    }

    #[test]
    fn a_number_is_taken_until_it_is_released() {
        let nqn: Nqn = "nqn.2024-05.com.example:a".parse().unwrap();
        let mut exports = Exports::default();
        let first = exports.reserve(&nqn, Nsid(3), device()).unwrap();
        assert_eq!(exports.map(&nqn).get(Nsid(3)), None, "no queue is open yet");
        exports.show(first, Vec::new());
        let old = exports.map(&nqn);
        assert_eq!((old.get(Nsid(3)), old.get(Nsid(2)), old.get(Nsid(0))), (Some(first), None, None));
        assert_eq!(exports.hide(&nqn, Nsid(3)), Some(first));
        assert_eq!(exports.map(&nqn).get(Nsid(3)), None);
        assert_ne!(exports.reserve(&nqn, Nsid(3), device()), Some(first), "queues may be open");
        exports.release(first);
        assert_eq!(exports.reserve(&nqn, Nsid(4), device()), Some(first));
        assert_eq!(exports.views(), [], "nothing is shown");
    }
}
