//! Namespaces that come, go and change while the controller runs.

use nvme_spec::Nsid;

use super::Controller;
use super::events::Event;
use super::namespace::NamespaceError;
use crate::media::Media;
use crate::options::NamespaceOptions;

impl Controller {
    /// Adds a namespace, attached.
    pub(crate) fn add_namespace(
        &mut self,
        nsid: Nsid,
        options: NamespaceOptions,
        media: Box<dyn Media>,
    ) -> Result<(), NamespaceError> {
        self.namespaces.add(self.options.namespaces_max, nsid, options, media)?;
        self.namespace_changed(nsid);
        Ok(())
    }

    pub(super) fn detach(&mut self, nsid: Nsid) {
        self.set_attached(nsid, false);
    }

    pub(super) fn attach(&mut self, nsid: Nsid) {
        self.set_attached(nsid, true);
    }

    fn set_attached(&mut self, nsid: Nsid, attached: bool) {
        let changed = self
            .namespaces
            .find(nsid)
            .is_some_and(|namespace| std::mem::replace(&mut namespace.attached, attached) != attached);
        if changed {
            self.namespace_changed(nsid);
        }
    }

    pub(super) fn resize(&mut self, nsid: Nsid, blocks: u64) {
        let Some(namespace) = self.namespaces.find(nsid) else { return };
        match namespace.media.resize(blocks) {
            Ok(()) => self.namespace_changed(nsid),
            Err(error) => tracing::warn!(%error, "a namespace of a software SSD keeps its size"),
        }
    }

    fn namespace_changed(&mut self, nsid: Nsid) {
        self.logs.namespace_changed(nsid);
        self.raise_event(Event::NamespaceAttributeChanged);
    }
}
