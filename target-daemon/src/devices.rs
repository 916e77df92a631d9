//! Which kinds of device there are: the one place where they come together.

use block::Openers;
use block::uri::Scheme;

/// Openers of every kind of device that is built in.
#[must_use]
pub fn openers() -> Openers {
    let mut openers = Openers::with_builtin();
    openers.register(Scheme::Nvme, Box::new(nvme_driver::vfio::open_nvme));
    openers.register(Scheme::SoftNvme, Box::new(nvme_model::open_soft_nvme));
    openers.register(Scheme::Rdma, Box::new(initiator::open_rdma));
    openers
}
