//! From an address to a controller in use, with whichever provider there is.

use std::net::SocketAddr;

use nvmf::host::HostOptions;
use rdma::{Provider, ProviderKind, local_addresses};

use crate::adapter::{ENDPOINTS_MAX, open_adapter};
use crate::error::ConnectError;
use crate::handle::{Handle, Plan};
use crate::namespace::Opened;
use crate::options::RemoteOptions;

/// The provider to reach `peer` with.
pub(crate) fn provider_for(peer: SocketAddr, options: &RemoteOptions) -> Result<ProviderKind, ConnectError> {
    let locals = local_addresses(peer.ip(), options.local)?;
    let first = locals.first().copied().unwrap_or(peer.ip());
    let chosen = options.provider.choose_for(first);
    tracing::debug!(%peer, provider = %chosen, "provider");
    Ok(chosen.kind)
}

/// Makes an association, and waits for it.
pub(crate) fn attach<P: Provider>(
    provider: &P,
    peer: SocketAddr,
    options: &RemoteOptions,
    host: HostOptions,
    opened: Option<Opened>,
) -> Result<Handle<P::Device>, ConnectError> {
    // One for the admin queue; and a thread that does not poll keeps its old lane while there is a new one.
    let endpoints = host.io_queues.saturating_mul(2).saturating_add(1).min(ENDPOINTS_MAX);
    let device = open_adapter(provider, peer.ip(), options.local, endpoints)?;
    Handle::attach(device, Plan { peer, host, opened, io_timeout: options.io_timeout })
}
