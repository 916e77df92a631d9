//! Metrics for Prometheus, over HTTP.
//!
//! - `text`: what there is to be told, in OpenMetrics' text; `http`: how it is asked for.

mod http;
mod text;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::daemon::lock;
use crate::engine::Engine;

pub(crate) use http::MetricsError;

/// What metrics are taken from.
#[derive(Debug)]
pub(crate) struct Scraped {
    engine: Mutex<Option<Arc<Engine>>>,
    failed: AtomicUsize,
}

impl Scraped {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine: Mutex::new(Some(engine)), failed: AtomicUsize::new(0) }
    }

    /// So many namespaces are wanted and not exported.
    pub(crate) fn set_failed(&self, failed: usize) {
        self.failed.store(failed, Ordering::Relaxed);
    }

    /// Nothing is taken any more: nobody has the engine from here when this returns.
    pub(crate) fn close(&self) {
        lock(&self.engine).take();
    }

    fn text(&self) -> Option<String> {
        // Held until all is taken, so that the end need not ask who still has the engine.
        let status = lock(&self.engine).as_ref().map(|engine| engine.status())?;
        Some(text::of(status, self.failed.load(Ordering::Relaxed)))
    }
}

/// Serves metrics from now on; where, since a port of 0 takes a free one.
pub(crate) fn serve(address: SocketAddr, scraped: Arc<Scraped>) -> Result<SocketAddr, MetricsError> {
    http::serve(address, Arc::new(move || scraped.text()))
}
