//! What is told, and waiting.

use std::io::{self, Write};
use std::time::Duration;

use block::{MonotonicClock, Sleeper, Timestamp};

use super::error::DemoError;
use crate::bench::stop::Stop;

/// How often something that is waited for is looked at.
const TICK: Duration = Duration::from_millis(10);

/// The narrator: the demo's clock, its end, and its words.
pub(super) struct Stage<'a> {
    pub(super) stop: &'a Stop,
    clock: MonotonicClock,
    acts: u32,
}

impl<'a> Stage<'a> {
    pub(super) fn new(stop: &'a Stop) -> Self {
        Self { stop, clock: MonotonicClock::start(), acts: 0 }
    }

    /// Time since the beginning.
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Begins an act.
    pub(super) fn act(&mut self, title: &str) -> Result<(), DemoError> {
        self.acts += 1;
        self.say(&format!("\n{}  {title}", self.acts))
    }

    /// Says what happened.
    pub(super) fn tell(&self, line: &str) -> Result<(), DemoError> {
        self.say(&format!("   {line}"))
    }

    /// Says what a target has to do with it.
    pub(super) fn of(&self, name: &str, line: &str) -> Result<(), DemoError> {
        self.say(&format!("   {name:6} {line}"))
    }

    /// Says a whole line.
    pub(super) fn say(&self, line: &str) -> Result<(), DemoError> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        Ok(out.flush()?)
    }

    /// Goes on after a while.
    pub(super) fn pause(&self, time: Duration) -> Result<(), DemoError> {
        self.wait(time, || Ok(false)).map(|_| ())
    }

    /// Waits until something is so, at most for a time; `false` if it never was. A signal ends the demo.
    pub(super) fn wait(
        &self,
        most: Duration,
        mut is_so: impl FnMut() -> Result<bool, DemoError>,
    ) -> Result<bool, DemoError> {
        let mut sleeper = Sleeper::new()?;
        let until = self.now().after(most);
        loop {
            if self.stop.is_set() {
                return Err(DemoError::Stopped);
            }
            if is_so()? {
                return Ok(true);
            }
            let now = self.now();
            if now >= until {
                return Ok(false);
            }
            sleeper.sleep_until(now, now.after(TICK).min(until))?;
        }
    }
}

/// Seconds with one digit: 1.4 s.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A number with its thousands apart: 12,345.
pub(super) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_can_be_read() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(thousands(number), text);
        }
        assert_eq!(seconds(Duration::from_millis(1449)), "1.4 s");
    }

    #[test]
    fn waiting_ends_by_what_is_waited_for_by_time_or_by_a_signal() {
        let stop = Stop::default();
        let stage = Stage::new(&stop);
        let mut looks = 0;
        let third = || {
            looks += 1;
            Ok(looks == 3)
        };
        assert!(stage.wait(Duration::from_secs(60), third).unwrap());
        assert!(!stage.wait(Duration::from_millis(20), || Ok(false)).unwrap());
        stop.end();
        assert!(matches!(stage.pause(Duration::from_secs(60)), Err(DemoError::Stopped)));
    }
}
