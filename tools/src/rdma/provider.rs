//! The provider: chosen once, said in a line, and everything behind it is compiled for it.

use std::io::{self, Write};
use std::net::IpAddr;

use rdma::{ProviderChoice, ProviderTask};

use super::error::RdmaError;

/// Chooses the provider for an address of this machine, says which and why, and does the task with it.
pub fn with_provider<O, T>(choice: ProviderChoice, address: IpAddr, task: T) -> Result<O, RdmaError>
where
    T: ProviderTask<Output = Result<O, RdmaError>>,
{
    let chosen = choice.choose_for(address);
    // Nothing is to be done if nobody reads it.
    let _ = writeln!(io::stderr(), "remora: provider {chosen}");
    chosen.kind.run(task)?
}
