//! Two devices, a client in this thread and a server in another.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use rdma::soft::Soft;
use rdma::{Device, DeviceOptions, EndpointOptions, Provider};
use remora_benches::floor::pin;
use remora_tools::bench::stop::Stop;
use remora_tools::bench::usage::thread_usage;
use remora_tools::rdma::perf::{Client, Length, Load, Measured, Op, Server};
use remora_tools::rdma::reactor::{Poll, Reactor, ReactorOptions};

use crate::PathError;

pub type SoftDevice = <Soft as Provider>::Device;

/// Operations before those that count.
const WARM_UP: u64 = 500;

/// The first port of the servers.
const PORT_MIN: u16 = 20_000;

/// A share of a processor, in percent.
pub struct Share(pub f64);

/// Two devices at two addresses of this machine.
pub struct Pair {
    pub client: SoftDevice,
    pub server: SoftDevice,
    port: AtomicU16,
}

impl Pair {
    pub fn open(provider: &Soft, client: IpAddr, server: IpAddr) -> Result<Self, PathError> {
        let options = DeviceOptions::default();
        let (client, server) = (provider.open(client, &options)?, provider.open(server, &options)?);
        Ok(Self { client, server, port: AtomicU16::new(PORT_MIN) })
    }

    /// A port that was not used yet.
    pub fn next_port(&self) -> u16 {
        self.port.fetch_add(1, Ordering::Relaxed)
    }

    /// Both spinning, pinned to two processors.
    pub fn measure(&self, load: Load, run_time: Duration) -> Result<Measured, PathError> {
        let run = |client: &mut Client<SoftDevice>, stop: &Stop| {
            client.run(Length::Operations(WARM_UP), stop)?;
            Ok(client.run(Length::Time(run_time), stop)?)
        };
        Ok(self.with_server(load, Poll::Always, run)?.0)
    }

    /// Both asleep, with a connection that has been used: what each thread takes of a processor.
    pub fn idle(&self, time: Duration) -> Result<(Share, Share), PathError> {
        let load = Load { op: Op::Write, bytes: 4096, depth: 1 };
        self.with_server(load, Poll::Adaptive, |client, stop| {
            client.run(Length::Operations(WARM_UP), stop)?;
            let before = thread_usage();
            let reactor = client.reactor_mut();
            let end = reactor.now().after(time);
            while reactor.now() < end {
                reactor.turn(end)?;
            }
            let used = thread_usage().since(before);
            Ok(Share((used.user + used.system).as_secs_f64() * 100.0 / time.as_secs_f64()))
        })
    }

    /// Does something with a connection to a server in another thread, and tells what share of a processor that thread took
    /// from then on.
    fn with_server<T>(
        &self,
        load: Load,
        poll: Poll,
        act: impl FnOnce(&mut Client<SoftDevice>, &Stop) -> Result<T, PathError>,
    ) -> Result<(T, Share), PathError> {
        let (stop, port) = (Stop::default(), self.next_port());
        let options = ReactorOptions { poll, mtu: None, endpoint: EndpointOptions::default() };
        let server = Server::listen(Reactor::new(self.server.clone(), &options)?, port, io::sink())?;
        thread::scope(|scope| {
            let serving = scope.spawn(|| {
                pin(1);
                let clock = block::MonotonicClock::start();
                let before = thread_usage();
                server.serve(&stop)?;
                let used = thread_usage().since(before);
                let elapsed = clock.now().since(block::Timestamp::default());
                Ok::<_, PathError>(Share(
                    (used.user + used.system).as_secs_f64() * 100.0 / elapsed.as_secs_f64(),
                ))
            });
            let result = self.act(load, port, &options, &stop, act);
            stop.fail();
            let share = serving.join().map_err(|_| PathError::Thread("it panicked".to_owned()))??;
            Ok((result?, share))
        })
    }

    fn act<T>(
        &self,
        load: Load,
        port: u16,
        options: &ReactorOptions,
        stop: &Stop,
        act: impl FnOnce(&mut Client<SoftDevice>, &Stop) -> Result<T, PathError>,
    ) -> Result<T, PathError> {
        pin(0);
        let peer = SocketAddr::new(self.server.address(), port);
        let mut client = Client::connect(Reactor::new(self.client.clone(), options)?, peer, load, 1, stop)?;
        let result = act(&mut client, stop);
        client.part()?;
        result
    }
}
