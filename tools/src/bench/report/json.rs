//! The report with fio's fields, so that fio's readers read it.

use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, to_value};

use super::{Run, ctime, per_second, percent};
use crate::bench::options::OutputFormat;
use crate::bench::statistics::{CLASSES, CLASSES_MS, Classes, DirectionStatistics, Latency, PERCENTILES};
use crate::bench::workload::Direction;

/// Names and values in the order given.
#[derive(Clone, Debug, Default)]
struct Object(Vec<(String, Field)>);

#[derive(Clone, Debug)]
enum Field {
    Value(Value),
    Object(Object),
    List(Vec<Object>),
}

impl Object {
    fn with(mut self, name: &str, value: impl Into<Field>) -> Self {
        self.0.push((name.to_owned(), value.into()));
        self
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Serialize for Field {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Value(value) => value.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
            Self::List(list) => list.serialize(serializer),
        }
    }
}

impl From<Object> for Field {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

macro_rules! field_from {
    ($($kind:ty),*) => {
        $(impl From<$kind> for Field {
            fn from(value: $kind) -> Self {
                // Numbers and text are always values.
                Self::Value(to_value(value).unwrap_or(Value::Null))
            }
        })*
    };
}
field_from!(u64, i64, i32, u32, f64, &str, String);

/// The whole report, ending with a line feed.
#[must_use]
pub fn json(run: &Run<'_>) -> String {
    let unix_s = run.unix_ms / 1000;
    let report = Object::default()
        // Readers look for fio's version to know the fields.
        .with("fio version", concat!("remora-", env!("CARGO_PKG_VERSION"), " (fields of fio-3.33)"))
        .with("timestamp", unix_s)
        .with("timestamp_ms", run.unix_ms)
        .with("time", ctime(unix_s))
        .with("global options", global_options(run))
        .with("jobs", Field::List(vec![job(run)]))
        .with("disk_util", Field::List(Vec::new()));
    // Neither maps with other keys than text nor foreign types are in it.
    let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
    text.push('\n');
    text
}

fn global_options(run: &Run<'_>) -> Object {
    Object::default()
        .with("ioengine", "remora")
        .with("filename", run.options.device.as_str())
        .with("group_reporting", "1")
}

fn job_options(run: &Run<'_>) -> Object {
    let options = run.options;
    let mut object = Object::default()
        .with("name", options.name.as_str())
        .with("rw", options.rw.name())
        .with("bs", options.bs.to_string())
        .with("iodepth", options.iodepth.to_string())
        .with("numjobs", options.numjobs.to_string())
        .with("rwmixread", options.rwmixread.to_string())
        .with("offset", options.offset.to_string())
        .with("randseed", options.randseed.to_string())
        .with("poll", options.poll.name());
    let optional = [
        ("size", options.size.map(|bytes| bytes.to_string())),
        ("runtime", options.runtime.map(|time| time.as_secs_f64().to_string())),
        ("ramp_time", (!options.ramp_time.is_zero()).then(|| options.ramp_time.as_secs_f64().to_string())),
        ("rate_iops", options.rate_iops.map(|rate| rate.to_string())),
        ("fsync", (options.fsync > 0).then(|| options.fsync.to_string())),
        ("fua", options.fua.then(|| "1".to_owned())),
        ("norandommap", options.norandommap.then(|| "1".to_owned())),
        ("verify", options.verify.map(|_| "crc32c".to_owned())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            object = object.with(name, value);
        }
    }
    object
}

fn job(run: &Run<'_>) -> Object {
    let statistics = run.statistics;
    let mut job = Object::default()
        .with("jobname", run.options.name.as_str())
        .with("groupid", 0)
        .with("error", run.error.as_ref().map_or(0, |(errno, _)| *errno))
        .with("eta", 0)
        .with("elapsed", run.elapsed.as_secs() + u64::from(run.elapsed.subsec_nanos() > 0))
        .with("job options", job_options(run));
    for (name, at) in [("read", Direction::Read), ("write", Direction::Write), ("trim", Direction::Trim)] {
        job = job.with(name, direction(run, &statistics.directions[at.index()]));
    }
    let sync = Object::default()
        .with("total_ios", statistics.sync.moments().count())
        .with("lat_ns", latency(&statistics.sync, false));
    job = job
        .with("sync", sync)
        .with("job_runtime", statistics.job_runtime_ns / 1_000_000)
        .with("usr_cpu", run.percent_of_runtime(run.usage.user))
        .with("sys_cpu", run.percent_of_runtime(run.usage.system))
        .with("ctx", run.usage.context_switches)
        .with("majf", run.usage.major_faults)
        .with("minf", run.usage.minor_faults);
    job = with_depths(job, run);
    let job = with_classes(job, run);
    let job = job
        .with("latency_depth", run.options.iodepth)
        .with("latency_target", 0)
        .with("latency_percentile", 100.0)
        .with("latency_window", 0);
    match run.verified {
        None => job,
        Some(verified) => job.with(
            "verify",
            Object::default().with("blocks", verified.blocks).with("wrong_blocks", verified.wrong_blocks),
        ),
    }
}

fn direction(run: &Run<'_>, statistics: &DirectionStatistics) -> Object {
    let io_bytes = u64::from(run.plan.io_bytes);
    let bytes = statistics.ios.saturating_mul(io_bytes);
    let bytes_per_s = statistics.rate(bytes);
    let plus = run.options.output_format == OutputFormat::JsonPlus;
    let series = |weight, unit| statistics.series.rates(statistics.runtime_ns, weight, unit);
    let (bandwidth, iops) = (series(io_bytes, 1024), series(1, 1));
    let object = Object::default()
        .with("io_bytes", bytes)
        .with("io_kbytes", bytes / 1024)
        .with("bw_bytes", bytes_per_s)
        .with("bw", bytes_per_s / 1024)
        .with("iops", per_second(statistics.ios, statistics.runtime_ns))
        .with("runtime", statistics.runtime_ns / 1_000_000)
        .with("total_ios", statistics.ios)
        .with("short_ios", 0)
        .with("drop_ios", 0)
        .with("slat_ns", latency(&statistics.submission, plus))
        .with("clat_ns", latency(&statistics.completion, plus))
        .with("lat_ns", latency(&statistics.total, plus));
    object
        .with("bw_min", bandwidth.min())
        .with("bw_max", bandwidth.max())
        // The group is one entry, so all of its bandwidth is in it.
        .with("bw_agg", percent(statistics.ios, statistics.ios))
        .with("bw_mean", bandwidth.mean())
        .with("bw_dev", bandwidth.stddev())
        .with("bw_samples", bandwidth.count())
        .with("iops_min", iops.min())
        .with("iops_max", iops.max())
        .with("iops_mean", iops.mean())
        .with("iops_stddev", iops.stddev())
        .with("iops_samples", iops.count())
}

fn latency(latency: &Latency, with_bins: bool) -> Object {
    let moments = latency.moments();
    let object = Object::default()
        .with("min", moments.min())
        .with("max", moments.max())
        .with("mean", moments.mean())
        .with("stddev", moments.stddev())
        .with("N", moments.count());
    if moments.count() == 0 {
        return object;
    }
    let percentiles = PERCENTILES.iter().fold(Object::default(), |object, percent| {
        object.with(&format!("{percent:.6}"), latency.percentile(*percent))
    });
    let object = object.with("percentile", percentiles);
    if !with_bins {
        return object;
    }
    let bins = latency
        .counts()
        .fold(Object::default(), |object, (value_ns, count)| object.with(&value_ns.to_string(), count));
    object.with("bins", bins)
}

fn with_depths(job: Object, run: &Run<'_>) -> Object {
    let depths = &run.statistics.depths;
    let levels = ["1", "2", "4", "8", "16", "32", ">=64"];
    let batches = ["0", "4", "8", "16", "32", "64", ">=64"];
    job.with("iodepth_level", shares(&levels, &depths.level))
        .with("iodepth_submit", shares(&batches, &depths.submit))
        .with("iodepth_complete", shares(&batches, &depths.complete))
}

fn shares<N: AsRef<str>>(names: &[N], counts: &[u64]) -> Object {
    let whole: u64 = counts.iter().sum();
    shares_of(names, counts, whole)
}

fn shares_of<N: AsRef<str>>(names: &[N], counts: &[u64], whole: u64) -> Object {
    names
        .iter()
        .zip(counts)
        .fold(Object::default(), |object, (name, count)| object.with(name.as_ref(), percent(*count, whole)))
}

fn with_classes(job: Object, run: &Run<'_>) -> Object {
    let mut classes = Classes::default();
    run.statistics.directions.iter().for_each(|direction| classes.add(&direction.total.classes()));
    let whole = run.statistics.ios();
    let names: Vec<String> = CLASSES.iter().map(u64::to_string).collect();
    let mut names_ms: Vec<String> = CLASSES_MS.iter().map(u64::to_string).collect();
    names_ms.push(format!(">={}", CLASSES_MS[CLASSES_MS.len() - 1]));
    job.with("latency_ns", shares_of(&names, &classes.ns, whole))
        .with("latency_us", shares_of(&names, &classes.us, whole))
        .with("latency_ms", shares_of(&names_ms, &classes.ms, whole))
}

#[cfg(test)]
mod tests;
