//! What there is to be told, in OpenMetrics' text.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, LabelSetEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::engine::{EngineStatus, IoCounters, LATENCY_BUCKETS, LatencyHistogram, ReactorView};

/// What every name begins with.
const PREFIX: &str = "remora_target";

/// Everything as text.
pub(super) fn of(status: EngineStatus, failed: usize) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(Snapshot { status, failed }));
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Snapshot {
    status: EngineStatus,
    failed: usize,
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = Writer { encoder };
        let Self { status, failed } = self;
        writer.gauge("namespaces_failed", "Namespaces that are wanted and not exported", *failed as u64)?;
        writer.controllers(status)?;
        let size = |bytes: u128| u64::try_from(bytes).unwrap_or(u64::MAX);
        let sizes = status.namespaces.iter().map(|of| (of_namespace(of), size(of.geometry.bytes())));
        writer.gauges("namespace_size", "Size of a namespace", Some(&Unit::Bytes), sizes)?;
        let gone = status.namespaces.iter().map(|of| (of_namespace(of), u64::from(of.is_device_removed)));
        writer.gauges("namespace_device_gone", "1 if the namespace's device is gone", None, gone)?;
        let namespaces: Vec<_> = status.namespaces.iter().map(|of| (of_namespace(of), &of.io)).collect();
        writer.io("namespace", "a namespace", &namespaces)?;
        let label = |nqn: &dyn ToString| Labels(vec![("host", nqn.to_string())]);
        let hosts: Vec<_> = status.hosts.iter().map(|of| (label(&of.nqn), &of.io)).collect();
        writer.io("host", "a host", &hosts)?;
        writer.reactors(&status.reactors)
    }
}

fn of_namespace(of: &crate::engine::NamespaceView) -> Labels {
    Labels(vec![("subsystem", of.subsystem.to_string()), ("nsid", of.nsid.to_string())])
}

/// Labels in order.
#[derive(Clone, Debug)]
struct Labels(Vec<(&'static str, String)>);

impl Labels {
    fn with(&self, name: &'static str, value: &str) -> Self {
        let mut labels = self.clone();
        labels.0.push((name, value.to_owned()));
        labels
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

/// Writes families of metrics.
struct Writer<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Writer<'_> {
    fn family<M: EncodeMetric>(
        &mut self,
        (name, help, unit): (&str, &str, Option<&Unit>),
        kind: MetricType,
        metrics: impl IntoIterator<Item = (Labels, M)>,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, help, unit, kind)?;
        for (labels, metric) in metrics {
            metric.encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// One that needs no label.
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let gauge = ConstGauge::new(value);
        gauge.encode(self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let metrics = values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family((name, help, unit), MetricType::Gauge, metrics)
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: impl IntoIterator<Item = (Labels, u64)>,
    ) -> fmt::Result {
        let metrics = values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family((name, help, unit), MetricType::Counter, metrics)
    }

    /// For each subsystem that has some.
    fn controllers(&mut self, status: &EngineStatus) -> fmt::Result {
        let mut counts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for of in &status.controllers {
            let (controllers, queues) = counts.entry(of.subsystem.to_string()).or_default();
            *controllers += 1;
            *queues += of.io_queues as u64;
        }
        let label = |subsystem: &String| Labels(vec![("subsystem", subsystem.clone())]);
        let controllers = counts.iter().map(|(subsystem, (count, _))| (label(subsystem), *count));
        self.gauges("controllers", "Associations of hosts", None, controllers)?;
        let queues = counts.iter().map(|(subsystem, (_, count))| (label(subsystem), *count));
        self.gauges("io_queues", "I/O queues of hosts", None, queues)
    }

    /// What was done for namespaces, or for hosts.
    fn io(&mut self, of: &str, whose: &str, all: &[(Labels, &IoCounters)]) -> fmt::Result {
        let commands = all.iter().flat_map(|(labels, io)| {
            let ops = [("read", io.reads), ("write", io.writes), ("flush", io.flushes), ("other", io.others)];
            ops.map(|(op, count)| (labels.with("op", op), count))
        });
        let name = |what: &str| format!("{of}_{what}");
        self.counters(&name("commands"), &format!("Commands of {whose}"), None, commands)?;
        let bytes = all.iter().flat_map(|(labels, io)| {
            [("read", io.read_bytes), ("write", io.written_bytes)]
                .map(|(op, bytes)| (labels.with("op", op), bytes))
        });
        let help = format!("Bytes that commands of {whose} moved");
        self.counters(&name("data"), &help, Some(&Unit::Bytes), bytes)?;
        let errors = all.iter().map(|(labels, io)| (labels.clone(), io.errors));
        self.counters(&name("errors"), &format!("Commands of {whose} that failed"), None, errors)?;
        let durations = all.iter().flat_map(|(labels, io)| {
            [("read", io.read_latency), ("write", io.write_latency)]
                .map(|(op, histogram)| (labels.with("op", op), Histogram(histogram)))
        });
        let help = format!("How long commands of {whose} took");
        self.family((&name("duration"), &help, Some(&Unit::Seconds)), MetricType::Histogram, durations)
    }

    fn reactors(&mut self, reactors: &[ReactorView]) -> fmt::Result {
        let of = |value: fn(&ReactorView) -> u64| {
            let reactors = reactors.iter().enumerate();
            reactors.map(move |(at, of)| (Labels(vec![("reactor", at.to_string())]), value(of)))
        };
        let bytes = Some(&Unit::Bytes);
        self.gauges("reactor_connections", "Connections", None, of(|of| of.connections))?;
        self.gauges("reactor_buffer", "Buffers for data", bytes, of(|of| of.buffer_bytes))?;
        self.gauges("reactor_buffer_free", "Buffers that are free", bytes, of(|of| of.buffer_bytes_free))?;
        self.gauges("reactor_waiting", "Commands that wait for a buffer", None, of(|of| of.waiting))?;
        self.counters("reactor_waited", "Commands that have waited for a buffer", None, of(|of| of.waited))?;
        self.gauges("reactor_reading", "On the way from hosts' memory", bytes, of(|of| of.read_bytes))?;
        self.gauges("reactor_in_devices", "Commands in devices", None, of(|of| of.in_devices))?;
        self.counters("reactor_copied", "Payload that was copied", bytes, of(|of| of.bytes_copied))?;
        self.counters("reactor_refused", "Connections that were refused", None, of(|of| of.refused))?;
        let violations = "Connections that were closed as their hosts broke the protocol";
        self.counters("reactor_violations", violations, None, of(|of| of.violations))?;
        self.counters("reactor_sleeps", "How often the thread slept", None, of(|of| of.sleeps))
    }
}

/// A histogram of the engine.
struct Histogram(LatencyHistogram);

impl EncodeMetric for Histogram {
    #[allow(clippy::cast_precision_loss, reason = "a sum of so many nanoseconds needs no more digits")]
    fn encode(&self, mut encoder: prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result {
        let end_s =
            |bucket| LatencyHistogram::bucket_end_us(bucket).map_or(f64::INFINITY, |us| us as f64 / 1e6);
        let buckets: [(f64, u64); LATENCY_BUCKETS] =
            std::array::from_fn(|bucket| (end_s(bucket), self.0.counts[bucket]));
        let sum_s = self.0.sum_ns as f64 / 1e9;
        encoder.encode_histogram::<Labels>(sum_s, self.0.count(), &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{HostView, NamespaceView};
    use block::{BlockSize, Geometry, Limits, WriteCache};
    use nvme_spec::Nsid;

    fn status() -> EngineStatus {
        let mut io = IoCounters { reads: 3, errors: 1, read_bytes: 12_288, ..Default::default() };
        (io.read_latency.counts[4], io.read_latency.counts[31]) = (2, 1);
        io.read_latency.sum_ns = 1_500_000_000;
        let geometry = Geometry {
            block_size: BlockSize::B512,
            blocks: 8,
            limits: Limits::NONE,
            atomic_blocks: 1,
            write_cache: WriteCache::Through,
        };
        let namespace = NamespaceView {
            subsystem: "nqn.2024-05.com.example:\"a".parse().unwrap(),
            nsid: Nsid(7),
            device: "mem:4KiB".to_owned(),
            geometry,
            is_device_removed: false,
            io,
        };
        let host = HostView { nqn: "nqn.2024-05.com.example:host".parse().unwrap(), io };
        EngineStatus {
            controllers: Vec::new(),
            namespaces: vec![namespace],
            hosts: vec![host],
            reactors: vec![ReactorView { connections: 2, ..Default::default() }],
        }
    }

    #[test]
    fn metrics_are_literal_lines() {
        let text = of(status(), 5);
        let has = |line: &str| assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        has("# TYPE remora_target_namespace_commands counter");
        has("remora_target_namespaces_failed 5");
        let labels = "subsystem=\"nqn.2024-05.com.example:\\\"a\",nsid=\"7\"";
        has(&format!("remora_target_namespace_commands_total{{{labels},op=\"read\"}} 3"));
        has(&format!("remora_target_namespace_data_bytes_total{{{labels},op=\"read\"}} 12288"));
        has(&format!("remora_target_namespace_errors_total{{{labels}}} 1"));
        has(&format!("remora_target_namespace_size_bytes{{{labels}}} 4096"));
        let bucket = |le, count| {
            format!(
                "remora_target_host_duration_seconds_bucket{{le=\"{le}\",host=\"nqn.2024-05.com.example:host\",op=\"read\"}} {count}"
            )
        };
        has(&bucket("0.000008", 0));
        has(&bucket("0.000016", 2));
        has(&bucket("+Inf", 3));
        has("remora_target_host_duration_seconds_sum{host=\"nqn.2024-05.com.example:host\",op=\"read\"} 1.5");
        has("remora_target_reactor_connections{reactor=\"0\"} 2");
        assert!(text.ends_with("# EOF\n"));
    }
}
