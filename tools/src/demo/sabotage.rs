//! Ways to spoil the demo, so that tests see it notice.

use block::OpenOptions;
use clap::ValueEnum;

use super::error::DemoError;
use super::server::Server;
use super::workload::Work;
use crate::bench::stop::Stop;
use crate::devices::openers;

/// What is spoiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Sabotage {
    /// While the killed target is dead, one of its durable blocks is overwritten
    LoseBlock,
    /// The target is not killed
    SpareTarget,
    /// The target is killed while nothing is in flight
    IdleHost,
    /// The killed target is not started again
    StayDead,
}

/// Overwrites a durable block of a server whose target is dead, past everybody's knowledge.
pub(super) fn lose_block(server: &Server) -> Result<(), DemoError> {
    let device = openers().open_text(&server.role.device, &OpenOptions::READ_WRITE)?;
    Work::Ruin.run(&*device, &server.durable, &Stop::default()).map(|_| ())
}
