//! One of the demo's servers: a target, its files, and what the host has of it.

use std::sync::Arc;

use block::uri::DeviceUri;

use super::attached::Attached;
use super::error::DemoError;
use super::scene::{ADDRESSES_MAX, Folder, Scale, free_addresses};
use super::stage::Stage;
use super::target::{Role, Target};
use super::workload::Part;

/// How often a target is started before the demo gives up finding it an address.
const STARTS_MAX: usize = 8;

/// See the module.
pub(super) struct Server {
    pub(super) name: &'static str,
    /// `None` while it is dead.
    pub(super) target: Option<Target>,
    pub(super) role: Role,
    /// What is made durable before anything happens.
    pub(super) durable: Part,
    /// What the mixed workload uses.
    pub(super) mixed: Part,
    /// What its namespace is opened by, once discovery has told.
    pub(super) uri: Option<DeviceUri>,
    /// Its namespace, while it is attached.
    pub(super) device: Option<Arc<Attached>>,
}

impl Server {
    /// Starts a target on an address that is free.
    pub(super) fn start(
        name: &'static str,
        folder: &Folder,
        scale: &Scale,
        stage: &Stage<'_>,
    ) -> Result<Self, DemoError> {
        let image = folder.file(&format!("{name}.img"));
        let mut failure = DemoError::NoAddress(ADDRESSES_MAX);
        for address in free_addresses().take(STARTS_MAX) {
            let role = Role {
                name,
                address,
                device: format!("soft-nvme:{}?size={}", image.display(), scale.image_bytes),
                log: folder.file(&format!("{name}.log")),
            };
            match Target::start(&role, stage) {
                Ok(target) => return Ok(Self::with(target, role, folder, scale)),
                // Somebody may have taken the address since it was looked at.
                Err(error @ DemoError::NotReady { .. }) => failure = error,
                Err(error) => return Err(error),
            }
        }
        Err(failure)
    }

    fn with(target: Target, role: Role, folder: &Folder, scale: &Scale) -> Self {
        let name = role.name;
        let part = |what: &str, offset, bytes| Part {
            name,
            offset,
            bytes,
            state: folder.file(&format!("{name}.{what}")),
        };
        let durable = part("durable", 0, scale.durable_bytes);
        let mixed = part("mixed", scale.durable_bytes, scale.mixed_bytes);
        Self { name, target: Some(target), role, durable, mixed, uri: None, device: None }
    }

    /// Starts the target again, where it was and with its file.
    pub(super) fn restart(&mut self, stage: &Stage<'_>) -> Result<(), DemoError> {
        self.target = Some(Target::start(&self.role, stage)?);
        Ok(())
    }

    /// The target's process; 0 if there is none.
    pub(super) fn pid(&self) -> u32 {
        self.target.as_ref().map_or(0, Target::pid)
    }

    /// Fails if a target that should be there is not.
    pub(super) fn check_alive(&mut self) -> Result<(), DemoError> {
        self.target.as_mut().map_or(Ok(()), Target::check_alive)
    }

    /// The namespace, which must be attached.
    pub(super) fn attached(&self) -> Result<Arc<Attached>, DemoError> {
        self.device.clone().ok_or_else(|| DemoError::Check(format!("{} is not attached", self.name)))
    }
}
