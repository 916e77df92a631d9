//! QEMU's monitor: what happens to the guest's hardware from outside.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::channel::Channel;
use crate::clock::Deadline;
use crate::error::{LabError, Result};

/// QEMU answers at once, if its main loop is not held up by the emulation.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// QEMU's name of what captures.
const CAPTURE_ID: &str = "capture";

/// A connection to QEMU's monitor, past its greeting.
#[derive(Debug)]
pub struct Qmp(Channel);

/// What QEMU saw the guest do to a namespace's backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Flushes.
    pub flushes: u64,
}

impl Qmp {
    /// Leaves the mode in which a connection starts.
    pub fn new(channel: Channel) -> Result<Self> {
        let mut qmp = Self(channel);
        qmp.run("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Runs a command and returns its result.
    pub fn run(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        self.0.send(&json!({ "execute": command, "arguments": arguments }).to_string())?;
        let deadline = Deadline::after(ANSWER_TIMEOUT);
        while let Some(line) = self.0.line(deadline)? {
            let mut answer: Value = serde_json::from_str(&line).unwrap_or_default();
            if answer.get("return").is_some() {
                return Ok(answer["return"].take());
            }
            if let Some(error) = answer.get("error") {
                return Err(LabError::Qmp { command: command.to_owned(), answer: error["desc"].to_string() });
            }
        }
        Err(LabError::Late { what: format!("QMP {command}"), waited: ANSWER_TIMEOUT })
    }

    /// What a namespace's backend has done so far.
    pub fn traffic(&mut self, nsid: u32) -> Result<Traffic> {
        let all = self.run("query-blockstats", &json!({}))?;
        let device = Value::from(format!("disk{nsid}"));
        let found = all.as_array().into_iter().flatten().find(|one| one["device"] == device);
        let stats = &found.ok_or_else(|| LabError::Story(format!("QEMU has no {device}")))?["stats"];
        let number = |name: &str| stats[name].as_u64().unwrap_or_default();
        Ok(Traffic {
            bytes_read: number("rd_bytes"),
            bytes_written: number("wr_bytes"),
            flushes: number("flush_operations"),
        })
    }

    /// Pulls a device out of its slot.
    pub fn unplug(&mut self, id: &str) -> Result<()> {
        self.run("device_del", &json!({ "id": id })).map(drop)
    }

    /// Whether a device is still plugged in.
    pub fn is_plugged(&mut self, id: &str) -> Result<bool> {
        let listed = self.run("qom-list", &json!({ "path": "/machine/peripheral" }))?;
        Ok(listed.as_array().into_iter().flatten().any(|one| one["name"] == id))
    }

    /// Writes down what passes a network end, from now on, in a new file.
    pub fn begin_capture(&mut self, netdev: &str, file: &Path) -> Result<()> {
        let filter = json!({ "qom-type": "filter-dump", "id": CAPTURE_ID, "netdev": netdev, "file": file });
        self.run("object-add", &filter).map(drop)
    }

    /// Ends it.
    pub fn end_capture(&mut self) -> Result<()> {
        self.run("object-del", &json!({ "id": CAPTURE_ID })).map(drop)
    }

    /// Turns an event of QEMU's log on or off.
    pub fn trace(&mut self, event: &str, is_on: bool) -> Result<()> {
        self.run("trace-event-set-state", &json!({ "name": event, "enable": is_on })).map(drop)
    }

    /// Lets a namespace's backend do no more than so many I/O a second; 0 lifts the limit.
    pub fn throttle(&mut self, nsid: u32, iops: u64) -> Result<()> {
        let limits = json!({
            "device": format!("disk{nsid}"),
            "iops": iops, "iops_rd": 0, "iops_wr": 0, "bps": 0, "bps_rd": 0, "bps_wr": 0,
        });
        self.run("block_set_io_throttle", &limits).map(drop)
    }
}
