//! Signals become orders: SIGHUP reads the configuration again, SIGTERM and SIGINT drain, and a second of these ends the process
//! at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::daemon::{Desk, Order};

/// Passes signals on from now on.
pub(crate) fn pass_on(desk: Arc<Desk>) -> io::Result<()> {
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // In this order: the first signal arms, the second finds it armed.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&is_second))?;
        flag::register(signal, Arc::clone(&is_second))?;
    }
    let mut signals = Signals::new([SIGHUP, SIGTERM, SIGINT])?;
    let pass_on = move || {
        for signal in signals.forever() {
            desk.place(if signal == SIGHUP { Order::Reload } else { Order::Drain });
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(pass_on)?;
    Ok(())
}
