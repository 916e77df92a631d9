//! The opener of `rdma:` devices.

use std::net::SocketAddr;
use std::sync::Arc;

use block::{BlockDevice, DeviceUri, OpenError, OpenOptions, SplitDevice, Target};
use nvme_spec::Nsid;
use nvmf::wire::Nqn;
use rdma::{Provider, ProviderTask};

use crate::attach::{attach, provider_for};
use crate::error::ConnectError;
use crate::namespace::{Opened, RemoteNamespace};
use crate::options::{RemoteOptions, RemoteOptionsError};
use crate::resolve::resolve;

/// Opens `rdma://HOST[:PORT]/NQN?ns=N`, with the parameters of [`RemoteOptions::take`]: makes an association, and waits until it
/// is there or cannot be had. For a program's list of openers.
pub fn open_rdma(uri: &DeviceUri, options: &OpenOptions) -> Result<Arc<dyn BlockDevice>, OpenError> {
    let Target::Rdma { host, port, nqn } = uri.target() else {
        let known = "the opener of remote namespaces is registered for it".to_owned();
        return Err(OpenError::NoOpener { scheme: uri.scheme(), known });
    };
    let failed = |reason: String| OpenError::Failed { device: uri.to_string(), reason };
    let mut parameters = uri.parameters().reader();
    let nsid = parameters.take("ns", "namespace number (1 and up)", |value| {
        value.parse().ok().map(Nsid).filter(|nsid| nsid.is_one_namespace())
    })?;
    let remote = RemoteOptions::take(&mut parameters).map_err(|error| match error {
        RemoteOptionsError::Parameter(error) => OpenError::Parameter(error),
        RemoteOptionsError::Identity(error) => failed(error.to_string()),
    })?;
    parameters.finish()?;
    let subsystem = nqn.parse::<Nqn>().map_err(|error| failed(error.to_string()))?;
    let peer = resolve(host, *port).map_err(|error| failed(error.to_string()))?;
    let opened = Opened { nsid: nsid.unwrap_or(Nsid(1)), access: options.access };
    let opening = Opening { uri, peer, subsystem: &subsystem, opened, options: &remote };
    let kind = provider_for(peer, &remote).map_err(|error| failed(error.to_string()))?;
    kind.run(opening).map_err(|error| failed(error.to_string()))?
}

struct Opening<'a> {
    uri: &'a DeviceUri,
    peer: SocketAddr,
    subsystem: &'a Nqn,
    opened: Opened,
    options: &'a RemoteOptions,
}

impl ProviderTask for Opening<'_> {
    type Output = Result<Arc<dyn BlockDevice>, OpenError>;

    fn run<P: Provider>(self, provider: &P) -> Self::Output {
        let Self { uri, peer, subsystem, opened, options } = self;
        let failed = |reason: String| OpenError::Failed { device: uri.to_string(), reason };
        let attach = || {
            let host = options.io(subsystem)?;
            attach(provider, peer, options, host, Some(opened))
        };
        let handle = attach().map_err(|error: ConnectError| failed(error.to_string()))?;
        let found = handle.shared().view().namespaces.remove(&opened.nsid);
        let namespace = match found {
            Some(Ok(namespace)) => namespace,
            Some(Err(why)) => return Err(failed(format!("namespace {}: {why}", opened.nsid))),
            None => return Err(OpenError::NotFound { device: uri.to_string() }),
        };
        let rules = (options.fail_fast, options.io_timeout);
        let device = RemoteNamespace::new(uri.to_string(), opened, handle, namespace, rules);
        Ok(Arc::new(SplitDevice::new(Arc::new(device))))
    }
}
