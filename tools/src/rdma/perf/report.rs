//! A run's report, for people and for programs.

use std::fmt::Write;

use rdma::DeviceInfo;
use serde_json::{Value, json};

use super::client::Length;
use super::measured::Measured;
use super::{PerfOptions, handshake::Load};
use crate::bench::report::numbers::{bytes_binary, short};

/// A finished run.
pub(super) struct Report<'a> {
    pub options: &'a PerfOptions,
    pub load: Load,
    pub length: Length,
    pub device: &'a DeviceInfo,
    pub measured: &'a Measured,
}

const MIB: f64 = 1024.0 * 1024.0;

impl Report<'_> {
    /// Lines of text.
    pub(super) fn text(&self) -> String {
        let Self { options, load, device, measured, .. } = self;
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{} of {}, depth {}, connections {}, poll {}; {} on {}, packets of {} bytes",
            load.op,
            bytes_binary(f64::from(load.bytes)),
            load.depth,
            options.connections,
            options.poll_name(),
            device.provider,
            device.name,
            device.mtu.bytes(),
        );
        let _ = writeln!(
            out,
            "  bandwidth: {:.2} MiB/s, {:.4} M operations/s, {} packets/s; {} operations in {:.2} s",
            measured.bytes_per_s() / MIB,
            measured.operations_per_s() / 1e6,
            short(measured.packets_per_s()),
            measured.operations,
            measured.elapsed_ns as f64 / 1e9,
        );
        let us = |ns: u64| ns as f64 / 1e3;
        let latency = |percent| us(measured.latency.percentile(percent));
        let moments = measured.latency.moments();
        let _ = writeln!(
            out,
            "  {}: min {:.2}, p50 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2} us",
            self.latency_name(),
            us(moments.min()),
            latency(50.0),
            latency(99.0),
            latency(99.9),
            us(moments.max()),
        );
        let (user, system) = measured.processor_percent();
        let _ = writeln!(out, "  processor: {:.1} % (user {user:.1}, system {system:.1})", user + system);
        let counters = measured.counters;
        let _ = writeln!(
            out,
            "  counters:  {} bytes copied, {} packets sent, {} received, {} resent, {} out of order, {} timeouts, {} system \
             calls",
            counters.bytes_copied,
            counters.packets_sent,
            counters.packets_received,
            counters.packets_resent,
            counters.out_of_order,
            counters.timeouts,
            counters.system_calls,
        );
        out
    }

    /// What a latency is of.
    fn latency_name(&self) -> &'static str {
        if self.options.latency { "round trip" } else { "latency" }
    }

    /// One object, ending with a line feed.
    pub(super) fn json(&self) -> String {
        let Self { options, load, device, measured, .. } = self;
        let moments = measured.latency.moments();
        let (user, system) = measured.processor_percent();
        let value = json!({
            "version": 1,
            "provider": device.provider,
            "device": device.name,
            "mtu": device.mtu.bytes(),
            "op": load.op.to_string(),
            "size_bytes": load.bytes,
            "depth": load.depth,
            "connections": options.connections,
            "poll": options.poll_name(),
            "length": match self.length {
                Length::Operations(count) => json!({ "operations": count }),
                Length::Time(time) => json!({ "seconds": time.as_secs_f64() }),
            },
            "operations": measured.operations,
            "bytes": measured.bytes,
            "elapsed_ns": measured.elapsed_ns,
            "bytes_per_s": measured.bytes_per_s(),
            "operations_per_s": measured.operations_per_s(),
            "packets_per_s": measured.packets_per_s(),
            "latency_ns": {
                "min": moments.min(),
                "mean": moments.mean(),
                "p50": measured.latency.percentile(50.0),
                "p99": measured.latency.percentile(99.0),
                "p99.9": measured.latency.percentile(99.9),
                "max": moments.max(),
            },
            "processor_percent": { "user": user, "system": system },
            "counters": self.counters(),
        });
        format!("{value:#}\n")
    }

    fn counters(&self) -> Value {
        let counters = self.measured.counters;
        json!({
            "bytes_copied": counters.bytes_copied,
            "packets_sent": counters.packets_sent,
            "packets_received": counters.packets_received,
            "packets_resent": counters.packets_resent,
            "out_of_order": counters.out_of_order,
            "naks_sent": counters.naks_sent,
            "naks_received": counters.naks_received,
            "timeouts": counters.timeouts,
            "system_calls": counters.system_calls,
        })
    }
}
