//! What comes of orders. What is acknowledged is kept: changes become durable before they are carried out.

use block::DeviceUri;
use nvme_spec::Nsid;
use nvmf::controller::limits::NAMESPACES_MAX;
use nvmf::wire::Nqn;
use tracing::{error, info};

use super::{Daemon, Order};
use crate::config::{Config, Namespace, read_device, read_identifier};
use crate::control::protocol::{Changed, Reloaded, Reply, Request};
use crate::export::{NamespaceKey, Plan};
use crate::state::Changes;

impl Daemon {
    /// Carries an order out; whether the target goes on.
    pub(super) fn carry_out(&mut self, order: Order) -> bool {
        let (request, receiver) = match order {
            Order::Drain => return false,
            Order::Reload => (Request::Reload {}, None),
            Order::Answer(request, receiver) => (request, Some(receiver)),
        };
        let goes_on = request != Request::Drain {};
        let reply = self.answer(request).unwrap_or_else(|message| Reply::Error { message });
        self.scraped.set_failed(self.serving.failed().len());
        match (receiver, reply) {
            // Whoever asked may be gone.
            (Some(receiver), reply) => drop(receiver.send(reply)),
            (None, Reply::Error { message }) => error!("not reloaded: {message}"),
            (None, _) => {}
        }
        goes_on
    }

    fn answer(&mut self, request: Request) -> Result<Reply, String> {
        match request {
            Request::Status {} => Ok(Reply::Status(Box::new(self.status()))),
            Request::Reload {} => self.reload().map(Reply::Reloaded),
            Request::Drain {} => Ok(Reply::Draining {}),
            Request::RemoveNamespace { nqn, nsid } => {
                let key = NamespaceKey { nqn: self.meant(nqn.as_deref())?, nsid: Nsid(nsid) };
                self.remove_namespace(&key)?;
                Ok(Reply::NamespaceRemoved(self.changed(&key)))
            }
            Request::AddNamespace { nqn, nsid, device, read_only, uuid, nguid } => {
                let nqn = self.subsystem(nqn.as_deref())?;
                let nsid = nsid.map_or_else(|| self.free_nsid(&nqn), |nsid| Ok(Nsid(nsid)))?;
                let identifier = |text: Option<String>, what| {
                    text.map(|text| read_identifier(&text, what))
                        .transpose()
                        .map_err(|error| error.to_string())
                };
                let device: DeviceUri =
                    read_device(&device, None, None).map_err(|error| error.to_string())?;
                let (uuid, nguid) = (identifier(uuid, "UUID")?, identifier(nguid, "NGUID")?);
                let nguid = nguid.map(uuid::Uuid::into_bytes);
                let key = NamespaceKey { nqn, nsid };
                self.add_namespace(&key, Namespace { device, read_only, uuid, nguid })?;
                Ok(Reply::NamespaceAdded(self.changed(&key)))
            }
        }
    }

    fn changed(&self, key: &NamespaceKey) -> Changed {
        Changed { nqn: key.nqn.to_string(), nsid: key.nsid.0, is_kept: self.store.is_some() }
    }

    /// The name that is meant: that of the only subsystem, if none is said.
    fn meant(&self, nqn: Option<&str>) -> Result<Nqn, String> {
        let subsystems = self.serving.subsystems();
        match (nqn, subsystems.len()) {
            (Some(text), _) => text.parse().map_err(|error| format!("{error}")),
            (None, 1) => subsystems.keys().next().cloned().ok_or_else(|| "there is no subsystem".to_owned()),
            (None, count) => Err(format!("there are {count} subsystems: say which is meant")),
        }
    }

    /// The subsystem that is meant, which is served.
    fn subsystem(&self, nqn: Option<&str>) -> Result<Nqn, String> {
        let nqn = self.meant(nqn)?;
        if self.serving.subsystems().contains_key(&nqn) {
            Ok(nqn)
        } else {
            Err(format!("there is no subsystem {nqn}"))
        }
    }

    /// The lowest number that neither a served nor a wanted namespace has.
    fn free_nsid(&self, nqn: &Nqn) -> Result<Nsid, String> {
        let wanted = self.changes.merged(&self.config.subsystems);
        let is_free = |nsid: &Nsid| {
            let has = |subsystem: &crate::config::Subsystem| subsystem.namespaces.contains_key(nsid);
            !wanted.get(nqn).is_some_and(has) && !self.serving.subsystems().get(nqn).is_some_and(has)
        };
        let free = (1..=NAMESPACES_MAX).map(Nsid).find(is_free);
        free.ok_or_else(|| format!("{nqn} has {NAMESPACES_MAX} namespaces already"))
    }

    fn add_namespace(&mut self, key: &NamespaceKey, namespace: Namespace) -> Result<(), String> {
        let is_there = |subsystem: &crate::config::Subsystem| subsystem.namespaces.contains_key(&key.nsid);
        if self.serving.subsystems().get(&key.nqn).is_some_and(is_there) {
            return Err(format!("{key} is there already"));
        }
        let mut changes = self.changes.clone();
        changes.add(key.clone(), namespace.clone(), &self.config.subsystems);
        let former = self.keep(changes)?;
        self.serving.add_namespace(&self.engine, key, namespace).map_err(|error| {
            if let Err(error) = self.keep(former) {
                error!("{key} was not added, and will be tried again at the next start: {error}");
            }
            error.to_string()
        })
    }

    /// Also one that is not exported: its device failed, or its subsystem is not in the configuration any more.
    fn remove_namespace(&mut self, key: &NamespaceKey) -> Result<(), String> {
        let is_exported = self.serving.exported(key).is_some();
        let is_failed = self.serving.failed().contains_key(key);
        if !is_exported && !is_failed && !self.changes.added.contains_key(key) {
            return Err(format!("there is no {key}"));
        }
        let mut changes = self.changes.clone();
        changes.remove(key.clone(), &self.config.subsystems);
        self.keep(changes)?;
        self.serving.forget_failed(key);
        if !is_exported {
            return Ok(());
        }
        self.serving.remove_namespace(&self.engine, key).map_err(|error| error.to_string())
    }

    /// Makes changes durable, if there is a place for them; what was kept before.
    fn keep(&mut self, changes: Changes) -> Result<Changes, String> {
        if let Some(store) = self.store.as_ref().filter(|_| changes != self.changes) {
            store.save(&changes).map_err(|error| error.to_string())?;
        }
        Ok(std::mem::replace(&mut self.changes, changes))
    }

    /// Reads the configuration again and changes what is served. What is the same before and after is not touched.
    fn reload(&mut self) -> Result<Reloaded, String> {
        let config = self.source.read().map_err(|error| error.to_string())?;
        let mut changes = self.changes.clone();
        let notes = changes.settle(&config.subsystems);
        self.keep(changes)?;
        let plan = Plan::between(self.serving.subsystems(), &self.changes.merged(&config.subsystems));
        let mut needs_restart = self.config.differences(&config);
        needs_restart.extend(plan.needs_restart.iter().cloned());
        let steps = plan.steps.len();
        self.config.subsystems = config.subsystems;
        self.config.drain_timeout = config.drain_timeout;
        self.config.log = config.log;
        self.log.set_level(config.log);
        let errors = self.serving.carry_out(&self.engine, plan);
        let changes = steps - errors.len();
        info!(changes, errors = errors.len(), "configuration reloaded");
        for words in needs_restart.iter().chain(&notes) {
            info!("reload: {words}");
        }
        let errors = errors.iter().map(ToString::to_string).collect();
        Ok(Reloaded { changes, errors, needs_restart, notes })
    }
}

impl Config {
    /// Keys that another configuration has otherwise, and that only a restart changes.
    fn differences(&self, other: &Self) -> Vec<String> {
        let keys = [
            ("listen", self.listeners != other.listeners),
            ("provider", self.provider != other.provider),
            ("cores, reactors", self.reactors != other.reactors),
            ("poll", self.poll != other.poll),
            ("buffers", self.buffers != other.buffers),
            ("limits", self.limits != other.limits),
            ("metrics", self.metrics != other.metrics),
            ("control", self.control != other.control),
            ("state_dir", self.state_dir != other.state_dir),
        ];
        keys.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key.to_owned()).collect()
    }
}
