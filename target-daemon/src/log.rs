//! The log: lines on standard error, at most so many of one kind in a while.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use block::{MonotonicClock, Timestamp};
use tracing::callsite::Identifier;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber, warn};
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Messages of one kind that are told in [`WINDOW_NS`]: a host that connects in a loop fills no disk.
const MESSAGES_PER_WINDOW: u32 = 50;

/// How long a kind is counted.
const WINDOW_NS: u64 = 10_000_000_000;

/// Levels from the least to the most.
const LEVELS: [Level; 5] = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];

/// Changes what the log does while it runs.
#[derive(Clone)]
pub(crate) struct Log {
    limiter: Arc<Limiter>,
}

impl Log {
    /// Starts to log. If the program logs already (it is part of another), that stays as it is.
    pub(crate) fn start(level: Level, clock: MonotonicClock) -> Self {
        let limiter = Arc::new(Limiter::new(level, clock));
        let filter = Limited(Arc::clone(&limiter));
        let lines = fmt::layer().with_target(false).with_ansi(io::stderr().is_terminal());
        let lines = lines.with_writer(io::stderr).with_filter(filter);
        // It only fails when there is another already.
        let _ = registry().with(lines).try_init();
        Self { limiter }
    }

    /// Tells more or less from now on.
    pub(crate) fn set_level(&self, level: Level) {
        self.limiter.set_level(level);
        tracing::callsite::rebuild_interest_cache();
    }

    /// Says what was not told, once in a while.
    pub(crate) fn tell_suppressed(&self) {
        for (what, count) in self.limiter.take_suppressed() {
            warn!("{count} more messages like those of {what} were not logged");
        }
    }
}

/// Counts messages by where they come from.
struct Limiter {
    level: AtomicUsize,
    clock: MonotonicClock,
    kinds: Mutex<HashMap<Identifier, Kind>>,
}

/// Messages of one line of the program.
struct Kind {
    name: &'static str,
    window_at: Timestamp,
    told: u32,
    suppressed: u64,
}

impl Limiter {
    fn new(level: Level, clock: MonotonicClock) -> Self {
        let limiter = Self { level: AtomicUsize::new(0), clock, kinds: Mutex::default() };
        limiter.set_level(level);
        limiter
    }

    fn set_level(&self, level: Level) {
        let index = LEVELS.iter().position(|known| *known == level).unwrap_or(0);
        self.level.store(index, Ordering::Relaxed);
    }

    fn level(&self) -> Level {
        LEVELS[self.level.load(Ordering::Relaxed)]
    }

    /// Whether a message is told. Who asks for details gets all of them.
    fn admit(&self, metadata: &'static Metadata<'static>, now: Timestamp) -> bool {
        if *metadata.level() > Level::INFO {
            return true;
        }
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Kind { name: metadata.name(), window_at: now, told: 0, suppressed: 0 };
        let kind = kinds.entry(metadata.callsite()).or_insert_with(new);
        if now.ns_since(kind.window_at) >= WINDOW_NS {
            (kind.window_at, kind.told) = (now, 0);
        }
        if kind.told < MESSAGES_PER_WINDOW {
            kind.told += 1;
            return true;
        }
        kind.suppressed += 1;
        false
    }

    fn take_suppressed(&self) -> Vec<(&'static str, u64)> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let suppressed = kinds.values_mut().filter(|kind| kind.suppressed > 0);
        suppressed.map(|kind| (kind.name, std::mem::take(&mut kind.suppressed))).collect()
    }
}

struct Limited(Arc<Limiter>);

impl<S: Subscriber> Filter<S> for Limited {
    /// What is not told is decided once for each line of the program, until the level changes, and costs nothing. What may be told
    /// is asked about each time: only then tracing-subscriber forgets that the message before was refused.
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if *metadata.level() <= self.0.level() { Interest::sometimes() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.0.level()))
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        *metadata.level() <= self.0.level()
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        self.0.admit(event.metadata(), self.0.clock.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn at_s(seconds: u64) -> Timestamp {
        Timestamp::from_ns(seconds * 1_000_000_000)
    }

    /// Counts what reaches it.
    struct Counter(Arc<AtomicU64>);

    impl<S: Subscriber> Layer<S> for Counter {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn one_kind_is_told_so_often_and_others_go_on() {
        let limiter = Arc::new(Limiter::new(Level::INFO, MonotonicClock::start()));
        let count = Arc::new(AtomicU64::new(0));
        let counter = Counter(Arc::clone(&count)).with_filter(Limited(Arc::clone(&limiter)));
        tracing::subscriber::with_default(registry().with(counter), || {
            (0..u64::from(MESSAGES_PER_WINDOW) + 7).for_each(|at| tracing::info!(at, "often"));
            tracing::warn!("once");
            tracing::debug!("never");
        });
        assert_eq!(count.load(Ordering::Relaxed), u64::from(MESSAGES_PER_WINDOW) + 1);
        let suppressed = limiter.take_suppressed();
        assert_eq!(suppressed.len(), 1);
        assert_eq!(suppressed[0].1, 7);
        assert!(suppressed[0].0.contains("log.rs:"), "it says where: {}", suppressed[0].0);
        assert_eq!(limiter.take_suppressed(), [], "once");
    }

    #[test]
    fn a_window_ends() {
        static CALLSITE: tracing::callsite::DefaultCallsite =
            tracing::callsite::DefaultCallsite::new(&METADATA);
        static METADATA: Metadata<'static> = tracing::metadata! {
            name: "event x", target: "x", level: Level::INFO,
            fields: &[], callsite: &CALLSITE, kind: tracing::metadata::Kind::EVENT,
        };
        let limiter = Limiter::new(Level::INFO, MonotonicClock::start());
        let told = |s: u64| (0..100).filter(|_| limiter.admit(&METADATA, at_s(s))).count();
        assert_eq!([told(1), told(5), told(11), told(30)], [50, 0, 50, 50]);
    }
}
