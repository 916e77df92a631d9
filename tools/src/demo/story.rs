//! The acts, and what each must show.
//!
//! Shown is: that the host and the targets are processes of their own; that discovery names what is exported; that I/O was in
//! flight when a target was killed, and was not answered while it was dead; that the other target went on; that the host
//! came back by itself without a failed request; that everything durable is there afterwards, and everything else holds
//! what its history allows. A killed process is not a power cut, and the last words say so.

use std::sync::Arc;
use std::time::Duration;

use block::BlockDevice;

use super::crisis::Crisis;
use super::error::{DemoError, check};
use super::scene::{Folder, Scale};
use super::server::Server;
use super::stage::{Stage, seconds, thousands};
use super::workload::{Part, Running, Work};
use super::{DemoOptions, figures, host};
use crate::bench::Outcome;
use crate::bench::stop::Stop;

/// The targets; the first is killed.
const NAMES: [&str; 2] = ["alpha", "beta"];

/// Longest time of a run that has an end of its own.
const RUN_MAX: Duration = Duration::from_secs(60);

/// Plays the whole demo. Whatever happens, the targets are gone and the files are removed when this returns.
pub(super) fn play(options: &DemoOptions, stop: &Stop) -> Result<(), DemoError> {
    let mut stage = Stage::new(stop);
    let scale = Scale::new(options.quick);
    // In this order: the targets go before the folder that has their files.
    let folder = Folder::new()?;
    let mut servers = Vec::new();
    introduce(&stage, &folder)?;
    start(&mut stage, &folder, &scale, &mut servers)?;
    discover(&mut stage, &mut servers)?;
    attach(&mut stage, &mut servers)?;
    fill(&mut stage, &servers)?;
    let outcomes = Crisis::new(&mut stage, &mut servers, scale, options.sabotage).play()?;
    verify(&mut stage, &mut servers)?;
    tell_figures(&mut stage, &outcomes)?;
    clean_up(&mut stage, servers, folder)?;
    conclude(&stage)
}

fn introduce(stage: &Stage<'_>, folder: &Folder) -> Result<(), DemoError> {
    let pid = std::process::id();
    stage.say(&format!(
        "Two storage servers and a host, each a process of this machine; the host is this one, process {pid}.\n\
         They speak NVMe over RDMA, in packets of RoCEv2 that are made in userspace, so no adapter is needed.\n\
         Their files are in {}, and gone at the end.",
        folder.path().display()
    ))
}

fn start(
    stage: &mut Stage<'_>,
    folder: &Folder,
    scale: &Scale,
    servers: &mut Vec<Server>,
) -> Result<(), DemoError> {
    let size = scale.image_bytes >> 20;
    stage.act(&format!("Start two targets (remora-target), each with a software SSD of {size} MiB"))?;
    for name in NAMES {
        let server = Server::start(name, folder, scale, stage)?;
        let address = server.target.as_ref().map(|target| target.address().to_string()).unwrap_or_default();
        stage.of(name, &format!("process {}, listens at {address}", server.pid()))?;
        servers.push(server);
    }
    let mut pids: Vec<_> = servers.iter().map(Server::pid).chain([std::process::id()]).collect();
    pids.sort_unstable();
    pids.dedup();
    check(pids.len() == 1 + NAMES.len(), || "the targets are not processes of their own".to_owned())
}

fn discover(stage: &mut Stage<'_>, servers: &mut [Server]) -> Result<(), DemoError> {
    stage.act("Ask each what it exports (NVMe discovery; `remora discover ADDRESS` does the same)")?;
    for server in servers {
        let Some(target) = &server.target else { continue };
        let found = host::discover(target)?;
        stage.of(server.name, &format!("{} ({})", found.nqn, found.entries))?;
        server.uri = Some(found.uri);
    }
    Ok(())
}

fn attach(stage: &mut Stage<'_>, servers: &mut [Server]) -> Result<(), DemoError> {
    stage.act("Attach both, as block devices")?;
    for server in servers {
        attach_one(server)?;
        let device = server.attached()?;
        let geometry = device.geometry();
        let blocks = thousands(geometry.blocks);
        stage.of(server.name, &format!("{blocks} blocks of {} bytes", geometry.block_size.bytes()))?;
    }
    Ok(())
}

fn attach_one(server: &mut Server) -> Result<(), DemoError> {
    if let Some(uri) = &server.uri {
        server.device = Some(host::attach(uri)?);
    }
    Ok(())
}

fn fill(stage: &mut Stage<'_>, servers: &[Server]) -> Result<(), DemoError> {
    let size = servers.first().map_or(0, |server| server.durable.bytes >> 20);
    stage.act(&format!("Write {size} MiB to each and flush: that is durable from now on"))?;
    let runs = begin(Work::Fill, servers, |server| &server.durable)?;
    for (server, outcome) in servers.iter().zip(finish(stage, runs)?) {
        let time = Duration::from_nanos(outcome.statistics.job_runtime_ns);
        stage.of(server.name, &format!("done in {}", seconds(time)))?;
    }
    Ok(())
}

/// Everything is attached anew, so that nothing that this process remembers of the devices can help.
fn verify(stage: &mut Stage<'_>, servers: &mut [Server]) -> Result<(), DemoError> {
    stage.act("Detach, attach anew, and read every block that was written")?;
    for server in servers.iter_mut() {
        server.device = None;
        attach_one(server)?;
    }
    let durable = finish(stage, begin(Work::Verify, servers, |server| &server.durable)?)?;
    let mixed = finish(stage, begin(Work::Verify, servers, |server| &server.mixed)?)?;
    for (server, (durable, mixed)) in servers.iter().zip(durable.iter().zip(&mixed)) {
        let (durable, mixed) = (right_blocks(durable), right_blocks(mixed));
        let block_bytes = u64::from(server.attached()?.geometry().block_size.bytes());
        let all = server.durable.bytes / block_bytes;
        check(durable == all, || format!("{}: {durable} of {all} durable blocks were judged", server.name))?;
        check(mixed > 0, || format!("{}: no block of the workload was judged", server.name))?;
        stage.of(server.name, &format!(
            "{} blocks of step 4: all there; {} blocks of the workload: each holds the write that it must",
            thousands(durable),
            thousands(mixed)
        ))?;
    }
    Ok(())
}

/// Blocks that were judged and found right.
fn right_blocks(outcome: &Outcome) -> u64 {
    outcome.verified.map_or(0, |verified| verified.blocks - verified.wrong_blocks)
}

/// The same work on all servers at once.
fn begin(work: Work, servers: &[Server], part: impl Fn(&Server) -> &Part) -> Result<Vec<Running>, DemoError> {
    let run = |server: &Server| {
        let device: Arc<dyn BlockDevice> = server.attached()?;
        Ok(Running::begin(work, device, part(server).clone()))
    };
    servers.iter().map(run).collect()
}

fn finish(stage: &Stage<'_>, runs: Vec<Running>) -> Result<Vec<Outcome>, DemoError> {
    let over = stage.wait(RUN_MAX, || Ok(runs.iter().all(Running::is_over)))?;
    check(over, || format!("reading or writing took more than {}", seconds(RUN_MAX)))?;
    runs.into_iter().map(Running::outcome).collect()
}

fn tell_figures(stage: &mut Stage<'_>, outcomes: &[Outcome]) -> Result<(), DemoError> {
    stage.act("What the random I/O took, from the request to its answer")?;
    let runs: Vec<_> = NAMES.into_iter().zip(outcomes).collect();
    figures::table(&runs).iter().try_for_each(|line| stage.tell(line))?;
    stage.tell("The longest of alpha waited while it was dead. Three processes share this machine's processors here.")
}

fn clean_up(stage: &mut Stage<'_>, servers: Vec<Server>, folder: Folder) -> Result<(), DemoError> {
    for mut server in servers {
        server.device = None;
        if let Some(target) = server.target.take() {
            target.end(stage)?;
        }
    }
    folder.remove()
}

fn conclude(stage: &Stage<'_>) -> Result<(), DemoError> {
    let time = seconds(stage.now().since(block::Timestamp::default()));
    stage.say(&format!(
        "\nAll checks passed, in {time}. The targets have ended and their files are removed.\n\
         Shown is that the death of a target's process loses nothing durable and fails no I/O. It is not a power cut: what the\n\
         software SSD had written to its file was kept by the operating system, which went on."
    ))
}
