//! What tests of the engine begin with.

use std::net::SocketAddr;
use std::sync::Arc;

use block::{BlockDevice, OpenOptions, Openers};
use nvme_spec::Nsid;
use nvmf::controller::{NamespaceInfo, SubsystemOptions};
use nvmf::wire::Nqn;
use rdma::ProviderChoice;
use target_daemon::engine::{BufferOptions, Engine, EngineOptions};
use uuid::Uuid;

pub const SUBSYSTEM: &str = "nqn.2024-05.com.example:engine";

pub fn nqn() -> Nqn {
    SUBSYSTEM.parse().unwrap()
}

/// Little memory, so that tests can run side by side.
pub fn buffers() -> BufferOptions {
    BufferOptions { data_bytes: 8 << 20, receives: 256, read_bytes: 4 << 20 }
}

/// An engine at an address, with one subsystem that anybody may attach to.
pub fn engine(address: &str, reactors: usize, buffers: BufferOptions) -> (Engine, SocketAddr) {
    let listener: SocketAddr = format!("{address}:4420").parse().unwrap();
    let options = EngineOptions {
        reactors: vec![None; reactors],
        provider: ProviderChoice::Soft,
        listeners: vec![listener],
        buffers,
        ..Default::default()
    };
    let engine = Engine::start(options).unwrap();
    let options = SubsystemOptions { allow_any_host: true, ..SubsystemOptions::new(nqn(), "SN1") };
    engine.add_subsystem(options).unwrap();
    (engine, listener)
}

pub fn open(uri: &str) -> Arc<dyn BlockDevice> {
    Openers::with_builtin().open_text(uri, &OpenOptions::READ_WRITE).unwrap()
}

pub fn info(nsid: u32, device: &dyn BlockDevice) -> NamespaceInfo {
    NamespaceInfo {
        nsid: Nsid(nsid),
        geometry: device.geometry(),
        abilities: device.abilities(),
        metadata_bytes: 0,
        uuid: Some(Uuid::from_u128(u128::from(nsid))),
        nguid: None,
        eui64: None,
    }
}

/// Exports a device.
pub fn export(engine: &Engine, nsid: u32, device: &Arc<dyn BlockDevice>) {
    engine.add_namespace(&nqn(), info(nsid, &**device), Arc::clone(device)).unwrap();
}
