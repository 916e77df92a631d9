//! How a target is, as tables.

use target_daemon::control::status::{
    ControllerStatus, HostStatus, IoStatus, NamespaceState, NamespaceStatus, ReactorStatus, Status,
    SubsystemStatus,
};

use super::table::table;
use crate::bench::report::numbers::{bytes_binary, short};

pub(super) fn text(status: &Status) -> String {
    let Status { pid, program_version, uptime_s, .. } = status;
    let mut text = format!("remora-target {program_version}, pid {pid}, up {}\n", duration(*uptime_s));
    text += &format!("listening at {}\n", status.listening.join(", "));
    text += &match &status.state_dir {
        Some(folder) => format!("changes at run time are kept in {folder}\n"),
        None => "changes at run time are not kept\n".to_owned(),
    };
    status.subsystems.iter().for_each(|of| text += &subsystem(of));
    text += &section("controllers", "no host is attached", controllers(&status.controllers));
    text += &section("hosts since the start", "", hosts(&status.hosts));
    text + &section("reactors", "", reactors(&status.reactors))
}

fn section(title: &str, if_none: &str, table: Option<String>) -> String {
    match table {
        Some(table) => format!("\n{title}\n{table}"),
        None if if_none.is_empty() => String::new(),
        None => format!("\n{if_none}\n"),
    }
}

fn subsystem(of: &SubsystemStatus) -> String {
    let hosts = match (of.allow_any_host, of.hosts.as_slice()) {
        (true, _) => "any host may attach".to_owned(),
        (false, []) => "no host may attach".to_owned(),
        (false, hosts) => format!("hosts that may attach: {}", hosts.join(", ")),
    };
    let title = format!("\nsubsystem {}\n  serial {}, model {}; {hosts}\n", of.nqn, of.serial, of.model);
    let rows: Vec<_> = of.namespaces.iter().map(namespace).collect();
    if rows.is_empty() {
        return title + "  no namespaces\n";
    }
    let headings = ["NSID", "SIZE", "BLOCK", "STATE", "READS", "WRITES", "ERRORS", "DEVICE"];
    let failures = of.namespaces.iter().filter_map(|namespace| {
        let error = namespace.error.as_ref()?;
        Some(format!("  {}: {error}\n", namespace.nsid))
    });
    title + &table(headings, rows) + &failures.collect::<String>()
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn namespace(of: &NamespaceStatus) -> [String; 8] {
    let state = match of.state {
        NamespaceState::Exported if of.read_only => "read-only",
        NamespaceState::Exported => "ok",
        NamespaceState::DeviceGone => "device gone",
        NamespaceState::Failed => "failed",
    };
    let added = if of.is_added { " (added)" } else { "" };
    let shape = if of.blocks == 0 {
        ["-".to_owned(), "-".to_owned()]
    } else {
        [bytes_binary(of.blocks as f64 * f64::from(of.block_bytes)), of.block_bytes.to_string()]
    };
    let [size, block] = shape;
    let [reads, writes, errors] = io(&of.io);
    [of.nsid.to_string(), size, block, format!("{state}{added}"), reads, writes, errors, of.device.clone()]
}

/// Reads, writes, errors.
#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn io(of: &IoStatus) -> [String; 3] {
    let moved = |count: u64, bytes: u64| {
        if count == 0 {
            "0".to_owned()
        } else {
            format!("{} ({})", short(count as f64), bytes_binary(bytes as f64))
        }
    };
    [moved(of.reads, of.read_bytes), moved(of.writes, of.written_bytes), of.errors.to_string()]
}

fn controllers(of: &[ControllerStatus]) -> Option<String> {
    let row = |of: &ControllerStatus| {
        let subsystem = if of.is_discovery { "discovery".to_owned() } else { of.subsystem.clone() };
        let (id, queues) = (of.id.to_string(), of.io_queues.to_string());
        [id, of.peer.clone(), of.phase.clone(), queues, of.host.clone(), subsystem]
    };
    let headings = ["CNTLID", "PEER", "PHASE", "QUEUES", "HOST", "SUBSYSTEM"];
    (!of.is_empty()).then(|| table(headings, of.iter().map(row).collect()))
}

fn hosts(of: &[HostStatus]) -> Option<String> {
    let row = |of: &HostStatus| {
        let [reads, writes, errors] = io(&of.io);
        [reads, writes, errors, of.nqn.clone()]
    };
    (!of.is_empty()).then(|| table(["READS", "WRITES", "ERRORS", "HOST"], of.iter().map(row).collect()))
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn reactors(of: &[ReactorStatus]) -> Option<String> {
    let row = |(at, of): (usize, &ReactorStatus)| {
        let bytes = |bytes: u64| bytes_binary(bytes as f64);
        [
            at.to_string(),
            of.connections.to_string(),
            of.in_devices.to_string(),
            of.waiting.to_string(),
            format!("{} of {}", bytes(of.buffer_bytes_free), bytes(of.buffer_bytes)),
            bytes(of.bytes_copied),
            of.refused.to_string(),
            of.violations.to_string(),
        ]
    };
    let headings =
        ["REACTOR", "CONNECTIONS", "IN DEVICES", "WAITING", "FREE", "COPIED", "REFUSED", "VIOLATIONS"];
    (!of.is_empty()).then(|| table(headings, of.iter().enumerate().map(row).collect()))
}

/// Two units at most.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let exported = NamespaceStatus {
            nsid: 1,
            device: "mem:1GiB".to_owned(),
            state: NamespaceState::Exported,
            block_bytes: 512,
            blocks: 2 << 20,
            io: IoStatus { reads: 12, read_bytes: 49_152, ..Default::default() },
            ..Default::default()
        };
        let failed = NamespaceStatus {
            nsid: 2,
            device: "file:/d".to_owned(),
            error: Some("file:/d: not found".to_owned()),
            is_added: true,
            ..Default::default()
        };
        let subsystem = SubsystemStatus {
            nqn: "nqn.2024-05.com.example:a".to_owned(),
            serial: "S1".to_owned(),
            model: "Remora".to_owned(),
            namespaces: vec![exported, failed],
            ..Default::default()
        };
        let controller = ControllerStatus {
            id: 3,
            subsystem: subsystem.nqn.clone(),
            host: "nqn.2024-05.com.example:host".to_owned(),
            peer: "127.0.0.9:49152".to_owned(),
            phase: "ready".to_owned(),
            io_queues: 4,
            is_discovery: false,
        };
        Status {
            pid: 4711,
            program_version: "0.1.0".to_owned(),
            uptime_s: 3661,
            listening: vec!["127.0.0.2:4420".to_owned()],
            subsystems: vec![subsystem],
            controllers: vec![controller],
            ..Default::default()
        }
    }

    #[test]
    fn a_status_is_readable() {
        let expected = "\
remora-target 0.1.0, pid 4711, up 1 h 1 min
listening at 127.0.0.2:4420
changes at run time are not kept

subsystem nqn.2024-05.com.example:a
  serial S1, model Remora; no host may attach
  NSID  SIZE     BLOCK  STATE           READS         WRITES  ERRORS  DEVICE
  1     1.00GiB  512    ok              12 (48.0KiB)  0       0       mem:1GiB
  2     -        -      failed (added)  0             0       0       file:/d
  2: file:/d: not found

controllers
  CNTLID  PEER             PHASE  QUEUES  HOST                          SUBSYSTEM
  3       127.0.0.9:49152  ready  4       nqn.2024-05.com.example:host  nqn.2024-05.com.example:a
";
        assert_eq!(text(&status()), expected);
        let idle = Status { controllers: Vec::new(), subsystems: Vec::new(), ..status() };
        assert!(text(&idle).ends_with("are not kept\n\nno host is attached\n"));
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [(59, "59 s"), (61, "1 min 1 s"), (7322, "2 h 2 min"), (90_000, "1 d 1 h")];
        for (seconds, words) in cases {
            assert_eq!(duration(seconds), words);
        }
    }
}
