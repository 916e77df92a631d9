//! How often the driver tells the controller which completions it has taken.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod rig;

use block::WakeMode;
use nvme_model::ControllerOptions;
use rig::{Rig, driver_options};

/// Doorbell writes for the completions of `pairs` writes and reads, one after the other, on a queue of 32 commands.
fn doorbells_of(pairs: u64, queue_entries_max: u32, wake: WakeMode) -> u64 {
    let model = ControllerOptions { doorbell_buffer: false, queue_entries_max, ..Default::default() };
    let mut rig = Rig::cold(model, driver_options());
    rig.run_until("live", |rig| rig.controller.state() == "live");
    rig.open_queue(wake);
    for _ in 0..pairs {
        rig.check_works(7);
    }
    rig.check_sane();
    rig.ssd().stats().cq_doorbells
}

/// 256 entries are a page; 32 of them can be in use, one stays empty, and of the other 223 half may be owed.
#[test]
fn a_polled_queue_tells_when_half_of_the_room_is_used_up() {
    assert_eq!(doorbells_of(300, 1024, WakeMode::Polled), 600 / (223 / 2 + 1));
}

#[test]
fn without_room_each_completion_is_told() {
    assert_eq!(doorbells_of(50, 33, WakeMode::Polled), 100);
}

/// Interrupts may be held back until the last ones are known to have been seen.
#[test]
fn a_queue_with_interrupts_tells_at_once() {
    assert_eq!(doorbells_of(50, 1024, WakeMode::Interrupt), 100);
}
