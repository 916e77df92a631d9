//! Changes made at run time, which outlive the process: namespaces that were added to, and taken from, what the configuration
//! says.
//!
//! - `format`: their bytes; `store`: where they are kept, and how a crash finds either the old or the new ones.

mod format;
mod store;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::config::Namespace;
use crate::export::{NamespaceKey, Subsystems};

pub use store::StateError;
pub(crate) use store::Store;

/// Most changes that are kept.
pub(crate) const CHANGES_MAX: usize = 8192;

/// How what is served differs from what the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Namespaces that were added.
    pub(crate) added: BTreeMap<NamespaceKey, Namespace>,
    /// Namespaces of the configuration that were removed.
    pub(crate) removed: BTreeSet<NamespaceKey>,
}

impl Changes {
    /// What is to be served.
    pub(crate) fn merged(&self, config: &Subsystems) -> Subsystems {
        let mut wanted = config.clone();
        for key in &self.removed {
            if let Some(subsystem) = wanted.get_mut(&key.nqn) {
                subsystem.namespaces.remove(&key.nsid);
            }
        }
        for (key, namespace) in &self.added {
            if let Some(subsystem) = wanted.get_mut(&key.nqn) {
                subsystem.namespaces.insert(key.nsid, namespace.clone());
            }
        }
        wanted
    }

    /// A namespace is added.
    pub(crate) fn add(&mut self, key: NamespaceKey, namespace: Namespace, config: &Subsystems) {
        if configured(config, &key) == Some(&namespace) {
            self.removed.remove(&key);
        } else {
            self.added.insert(key, namespace);
        }
    }

    /// A namespace is removed.
    pub(crate) fn remove(&mut self, key: NamespaceKey, config: &Subsystems) {
        self.added.remove(&key);
        if configured(config, &key).is_some() {
            self.removed.insert(key);
        }
    }

    /// Forgets what a new configuration has made pointless, and says in words what may surprise.
    pub(crate) fn settle(&mut self, config: &Subsystems) -> Vec<String> {
        self.removed.retain(|key| configured(config, key).is_some());
        let mut words = Vec::new();
        let removed = &self.removed;
        self.added.retain(|key, namespace| match configured(config, key) {
            Some(configured) if !removed.contains(key) => {
                if configured != namespace {
                    let (device, other) = (&configured.device, &namespace.device);
                    words.push(format!("{key}: the configuration has {device} there now, no longer {other}"));
                }
                false
            }
            _ => true,
        });
        let aside = self.added.keys().filter(|key| !config.contains_key(&key.nqn));
        words
            .extend(aside.map(|key| format!("{key} is kept aside: the configuration has no such subsystem")));
        words
    }

    fn len(&self) -> usize {
        self.added.len() + self.removed.len()
    }
}

fn configured<'a>(config: &'a Subsystems, key: &NamespaceKey) -> Option<&'a Namespace> {
    config.get(&key.nqn)?.namespaces.get(&key.nsid)
}
