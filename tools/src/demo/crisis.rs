//! The heart of it: a target dies while I/O is in flight, and comes back.

use std::sync::Arc;
use std::time::Duration;

use block::Timestamp;

use super::attached::Attached;
use super::error::{DemoError, check};
use super::sabotage::{self, Sabotage};
use super::scene::Scale;
use super::server::Server;
use super::stage::{Stage, seconds, thousands};
use super::workload::{DEPTH, Running, Work};
use crate::bench::Outcome;

/// Which server dies.
const VICTIM: usize = 0;

/// Longest time until the workload has begun.
const BEGIN_MAX: Duration = Duration::from_secs(20);

/// Longest time until I/O is answered again.
const RETURN_MAX: Duration = Duration::from_secs(30);

/// How long answers that were on their way when the target died may still arrive.
const SETTLE: Duration = Duration::from_millis(200);

/// Answers that show that I/O runs: more than can have been in flight.
const ANSWERS_MIN: u64 = 4 * DEPTH as u64;

/// The workload on both servers while one of them dies.
pub(super) struct Crisis<'a, 's> {
    pub(super) stage: &'a mut Stage<'s>,
    pub(super) servers: &'a mut [Server],
    pub(super) scale: Scale,
    pub(super) sabotage: Option<Sabotage>,
    devices: Vec<Arc<Attached>>,
    runs: Vec<Running>,
}

impl<'a, 's> Crisis<'a, 's> {
    pub(super) fn new(
        stage: &'a mut Stage<'s>,
        servers: &'a mut [Server],
        scale: Scale,
        sabotage: Option<Sabotage>,
    ) -> Self {
        Self { stage, servers, scale, sabotage, devices: Vec::new(), runs: Vec::new() }
    }

    /// All of it. Gives what the workload measured.
    pub(super) fn play(mut self) -> Result<Vec<Outcome>, DemoError> {
        self.begin()?;
        let (died, answered) = self.kill()?;
        self.come_back(died, answered)?;
        self.end()
    }

    fn begin(&mut self) -> Result<(), DemoError> {
        self.stage.act(&format!(
            "Read and write at random, 4 KiB at a time, {DEPTH} at once on each; every block that is read is checked"
        ))?;
        for server in self.servers.iter() {
            let device = server.attached()?;
            self.runs.push(Running::begin(Work::Mixed, Arc::clone(&device) as _, server.mixed.clone()));
            self.devices.push(device);
        }
        let before = self.answered();
        let begun = self.wait(BEGIN_MAX, |answered| {
            answered.iter().zip(&before).all(|(now, before)| *now > before + ANSWERS_MIN)
        })?;
        check(begun, || format!("the workload did not begin within {}", seconds(BEGIN_MAX)))?;
        let (then, before) = (self.stage.now(), self.answered());
        self.wait(self.scale.at_work, |_| false)?;
        let elapsed_ms = self.stage.now().since(then).as_millis().max(1);
        for (server, (after, before)) in self.servers.iter().zip(self.answered().into_iter().zip(before)) {
            let rate = u128::from(after - before) * 1000 / elapsed_ms;
            let rate = thousands(u64::try_from(rate).unwrap_or(u64::MAX));
            self.stage.of(server.name, &format!("{rate} I/O a second"))?;
        }
        Ok(())
    }

    /// Gives when it died, and how many answers its host had then.
    fn kill(&mut self) -> Result<(Timestamp, u64), DemoError> {
        if self.sabotage == Some(Sabotage::IdleHost) {
            self.runs[VICTIM].end();
            self.stage.wait(RETURN_MAX, || Ok(self.runs[VICTIM].is_over()))?;
        }
        let victim = &mut self.servers[VICTIM];
        let (name, pid) = (victim.name, victim.pid());
        self.stage.act(&format!("Kill {name} with SIGKILL: it gets no chance to finish anything"))?;
        if self.sabotage != Some(Sabotage::SpareTarget)
            && let Some(target) = victim.target.take()
        {
            target.kill()?;
        }
        let died = self.stage.now();
        self.stage.pause(SETTLE)?;
        let (in_flight, answered) = (self.devices[VICTIM].seen().in_flight(), self.answered());
        self.stage.pause(self.scale.dead)?;
        let (still_in_flight, still_answered) = (self.devices[VICTIM].seen().in_flight(), self.answered());
        let dead = seconds(self.stage.now().since(died));
        // First: one that answers may have nothing in flight at any moment.
        check(answered[VICTIM] == still_answered[VICTIM], || {
            format!("{name} answered I/O after it was killed")
        })?;
        check(in_flight > 0 && still_in_flight > 0, || {
            format!("{name} was killed while no I/O was in flight")
        })?;
        self.stage.of(name, &format!(
            "process {pid} is gone; {still_in_flight} I/O are in flight to it, and in {dead} none was answered"
        ))?;
        for (at, server) in self.servers.iter().enumerate().filter(|(at, _)| *at != VICTIM) {
            let done = still_answered[at] - answered[at];
            check(done > 0, || format!("{} stood still while {name} was dead", server.name))?;
            self.stage.of(server.name, &format!("is not disturbed: {} I/O in that time", thousands(done)))?;
        }
        Ok((died, still_answered[VICTIM]))
    }

    fn come_back(&mut self, died: Timestamp, answered: u64) -> Result<(), DemoError> {
        if self.sabotage == Some(Sabotage::LoseBlock) {
            sabotage::lose_block(&self.servers[VICTIM])?;
        }
        let name = self.servers[VICTIM].name;
        self.stage.act(&format!("Start {name} again, with the file that it had"))?;
        if self.sabotage != Some(Sabotage::StayDead) {
            self.servers[VICTIM].restart(self.stage)?;
            let pid = self.servers[VICTIM].pid();
            self.stage.of(name, &format!("process {pid} listens where the old one did"))?;
        }
        let ready = self.stage.now();
        let returned = self.wait(RETURN_MAX, |now| now[VICTIM] > answered)?;
        check(returned, || {
            format!("no I/O was answered within {} after {name} was back", seconds(RETURN_MAX))
        })?;
        let now = self.stage.now();
        let (after_ready, after_death) = (seconds(now.since(ready)), seconds(now.since(died)));
        self.stage.of(name, &format!(
            "the host came back by itself {after_ready} later: I/O was held for {after_death}, then sent again"
        ))?;
        let runs = self.wait(RETURN_MAX, |now| now[VICTIM] > answered + ANSWERS_MIN)?;
        check(runs, || format!("I/O to {name} came to a halt again"))?;
        self.wait(self.scale.at_work, |_| false).map(|_| ())
    }

    fn end(self) -> Result<Vec<Outcome>, DemoError> {
        let Self { stage, servers, devices, runs, .. } = self;
        runs.iter().for_each(Running::end);
        let over = stage.wait(RETURN_MAX, || Ok(runs.iter().all(Running::is_over)))?;
        check(over, || "the workload does not end".to_owned())?;
        let outcomes: Vec<_> = runs.into_iter().map(Running::outcome).collect::<Result<_, _>>()?;
        for (at, (server, device)) in servers.iter().zip(&devices).enumerate() {
            let (is_victim, begun_anew) = (at == VICTIM, device.seen().incarnations() > 0);
            check(is_victim == begun_anew, || {
                format!(
                    "{}: the device must tell of a new beginning if its target died, and only then",
                    server.name
                )
            })?;
        }
        stage.tell("No request failed on either: the host held what was in flight, and the programs above saw a delay.")?;
        Ok(outcomes)
    }

    fn answered(&self) -> Vec<u64> {
        self.devices.iter().map(|device| device.seen().answered()).collect()
    }

    /// Waits as the stage does, while nothing ends that should run.
    fn wait(&mut self, most: Duration, is_so: impl Fn(&[u64]) -> bool) -> Result<bool, DemoError> {
        let Self { stage, servers, devices, runs, .. } = self;
        let is_so = stage.wait(most, || {
            servers.iter_mut().try_for_each(Server::check_alive)?;
            let answered: Vec<_> = devices.iter().map(|device| device.seen().answered()).collect();
            Ok(is_so(&answered) || runs.iter().any(Running::is_over))
        })?;
        let Some(over) = runs.iter().position(Running::is_over) else { return Ok(is_so) };
        runs.swap_remove(over).outcome()?;
        Err(DemoError::Check("a workload ended before its time".to_owned()))
    }
}
