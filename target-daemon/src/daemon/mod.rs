//! The daemon's own thread: starts everything, carries out orders one after the other, ends everything.
//!
//! - `orders`: what it is asked to do; `requests`: what comes of it.
//! - `report`: how everything is, in the words of the control socket.

mod orders;
mod report;
mod requests;

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use block::{MonotonicClock, SleepError, Sleeper};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::cli::Source;
use crate::config::{Config, ConfigError, ControlPath, Machine};
use crate::control::{self, ControlError};
use crate::devices::openers;
use crate::engine::{DeviceNews, Engine, EngineError, EngineEvent};
use crate::export::{NamespaceKey, Plan, Serving, StepError};
use crate::log::Log;
use crate::metrics::{self, MetricsError, Scraped};
use crate::signals;
use crate::state::{Changes, StateError, Store};

pub(crate) use orders::{Desk, Order};

/// How often the log tells what it did not tell.
const SUPPRESSED_PERIOD: Duration = Duration::from_secs(10);

/// Why a target did not start, or did not end as it should.
#[derive(Debug, Error)]
pub(crate) enum DaemonError {
    /// The configuration says what cannot be.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No data path.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Changes made at run time cannot be kept, or found again.
    #[error(transparent)]
    State(#[from] StateError),
    /// No control socket where there should be one.
    #[error("the control socket: {0}")]
    Control(#[from] ControlError),
    /// No metrics where there should be some.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(io::Error),
    /// The thread cannot sleep.
    #[error(transparent)]
    Sleep(#[from] SleepError),
    /// Nothing of what is wanted can be exported.
    #[error("nothing can be exported\n{}", lines(.0))]
    NothingExported(Vec<StepError>),
    /// Some I/O did not end.
    #[error("I/O was still being carried out after {0:?} and was abandoned")]
    Abandoned(Duration),
}

fn lines(errors: &[StepError]) -> String {
    errors.iter().map(|error| format!("  {error}")).collect::<Vec<_>>().join("\n")
}

/// Serves until it is told to end.
pub(crate) fn run(source: Source) -> Result<(), DaemonError> {
    let config = source.read()?;
    let clock = MonotonicClock::start();
    let log = Log::start(config.log, clock);
    let mut sleeper = Sleeper::new()?;
    let desk = Arc::new(Desk::new(sleeper.waker()));
    signals::pass_on(Arc::clone(&desk)).map_err(DaemonError::Signals)?;
    let mut daemon = Daemon::start(source, config, clock, log)?;
    daemon.engine.wake_on_event(sleeper.waker());
    let control = start_control(&daemon.config.control, &desk)?;
    let metrics = daemon.config.metrics.map(|address| metrics::serve(address, Arc::clone(&daemon.scraped)));
    tell_ready(&daemon, metrics.transpose()?);
    while daemon.work(&desk) {
        let now = clock.now();
        sleeper.sleep_until(now, now.after(SUPPRESSED_PERIOD))?;
    }
    desk.close();
    let end = daemon.end();
    if let Some(control) = control {
        control.finish();
    }
    end
}

/// A target that serves.
struct Daemon {
    source: Source,
    /// What was read last; of what needs a restart, what the process was started with.
    config: Config,
    engine: Arc<Engine>,
    serving: Serving,
    changes: Changes,
    store: Option<Store>,
    scraped: Arc<Scraped>,
    clock: MonotonicClock,
    log: Log,
}

impl Daemon {
    fn start(source: Source, config: Config, clock: MonotonicClock, log: Log) -> Result<Self, DaemonError> {
        let (store, mut changes) = match &config.state_dir {
            Some(folder) => Store::open(folder).map(|(store, changes)| (Some(store), changes))?,
            None => (None, Changes::default()),
        };
        changes.settle(&config.subsystems).iter().for_each(|words| warn!("{words}"));
        let engine = Arc::new(Engine::start(config.engine_options())?);
        let serving = Serving::new(openers(), Machine::this());
        let scraped = Arc::new(Scraped::new(Arc::clone(&engine)));
        let mut daemon = Self { source, config, engine, serving, changes, store, scraped, clock, log };
        let wanted = daemon.changes.merged(&daemon.config.subsystems);
        let plan = Plan::between(daemon.serving.subsystems(), &wanted);
        let errors = daemon.serving.carry_out(&daemon.engine, plan);
        daemon.scraped.set_failed(daemon.serving.failed().len());
        if !errors.is_empty() && daemon.serving.exported_count() == 0 {
            return Err(DaemonError::NothingExported(errors));
        }
        daemon.warn_of_hosts();
        Ok(daemon)
    }

    /// Nobody may attach unless it is said who: easily forgotten, and hard to see from the host's side.
    fn warn_of_hosts(&self) {
        for (nqn, subsystem) in self.serving.subsystems() {
            if !subsystem.hosts.any && subsystem.hosts.listed.is_empty() {
                let help =
                    "name some (`hosts`, --host) or let any (`allow_any_host = true`, --allow-any-host)";
                warn!(subsystem = %nqn, "no host may attach: {help}");
            }
        }
    }

    /// Does what there is to do; whether the target goes on.
    fn work(&mut self, desk: &Desk) -> bool {
        while let Some(order) = desk.take() {
            if !self.carry_out(order) {
                return false;
            }
        }
        while let Some(event) = self.engine.poll_event() {
            self.handle(&event);
        }
        self.log.tell_suppressed();
        true
    }

    fn handle(&mut self, event: &EngineEvent) {
        let EngineEvent { subsystem, nsid, what } = event;
        let nsid_number = nsid.0;
        match what {
            DeviceNews::Resized(geometry) => {
                info!(%subsystem, nsid = nsid_number, blocks = geometry.blocks, "the device has another size");
            }
            DeviceNews::IncarnationChanged(incarnation) => {
                let times = incarnation.0;
                warn!(%subsystem, nsid = nsid_number, times, "the device began anew: what was not flushed may be gone");
            }
            DeviceNews::MediaErrors(count) => {
                error!(%subsystem, nsid = nsid_number, count, "the device has media errors");
            }
            DeviceNews::Health(warning) => {
                warn!(%subsystem, nsid = nsid_number, ?warning, "the device's health");
            }
            DeviceNews::Removed => {
                error!(%subsystem, nsid = nsid_number, "the device is gone");
                let key = NamespaceKey { nqn: subsystem.clone(), nsid: *nsid };
                self.serving.give_up(&self.engine, &key, "its device is gone");
                self.scraped.set_failed(self.serving.failed().len());
            }
        }
    }

    /// Lets I/O end, and ends.
    fn end(self) -> Result<(), DaemonError> {
        info!("draining");
        let patience = self.config.drain_timeout;
        self.scraped.close();
        let Some(engine) = Arc::into_inner(self.engine) else {
            unreachable!("scrapes have ended, and nobody else has the engine");
        };
        if engine.drain(patience) {
            info!("drained");
            Ok(())
        } else {
            Err(DaemonError::Abandoned(patience))
        }
    }
}

/// A socket that was not asked for is no reason not to start.
fn start_control(path: &ControlPath, desk: &Arc<Desk>) -> Result<Option<control::Server>, DaemonError> {
    let desk = Arc::clone(desk);
    let answer: control::Answer = Arc::new(move |request| desk.ask(request));
    match path {
        ControlPath::None => Ok(None),
        ControlPath::At(path) => Ok(Some(control::Server::start(path, answer)?)),
        ControlPath::Default(path) => Ok(control::Server::start(path, answer)
            .inspect_err(|error| warn!("without a control socket: {error} (--control says where else)"))
            .ok()),
    }
}

/// Tells people what they need to connect, and programs that they can.
fn tell_ready(daemon: &Daemon, metrics: Option<std::net::SocketAddr>) {
    let mut text = String::new();
    for nqn in daemon.serving.subsystems().keys() {
        text += &format!("remora-target: subsystem {nqn}\n");
    }
    if let Some(address) = metrics {
        text += &format!("remora-target: metrics http://{address}/metrics\n");
    }
    let listening: Vec<String> = daemon.engine.listening().iter().map(ToString::to_string).collect();
    let (pid, listening) = (std::process::id(), listening.join(","));
    text += &format!("remora-target: ready, pid {pid}, listening {listening}\n");
    let mut output = io::stdout().lock();
    // Nobody reads it: then nobody waits for it.
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush());
}

/// What several threads may touch, and no panic leaves half done.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
