//! The report as fio prints it.

use std::fmt::{self, Write};

use super::numbers::{TimeUnit, bandwidth, bytes_binary, bytes_decimal, bytes_per_s, short};
use super::{Run, ctime, per_second, percent};
use crate::bench::statistics::{
    CLASSES, CLASSES_MS, Classes, DirectionStatistics, Latency, Moments, PERCENTILES,
};

/// Classes and percentiles of a line.
const CLASSES_OF_LINE: usize = 5;
const PERCENTILES_OF_LINE: usize = 4;

/// Smallest share, in percent, that is not written 0.00.
const SHARE_MIN: f64 = 0.005;

const NAMES: [&str; 3] = ["read", "write", "trim"];

/// The whole report, ending with a line feed.
#[must_use]
pub fn text(run: &Run<'_>) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = report(&mut out, run);
    out
}

fn report(out: &mut String, run: &Run<'_>) -> fmt::Result {
    head(out, run)?;
    for (name, direction) in NAMES.into_iter().zip(&run.statistics.directions) {
        if direction.ios > 0 {
            direction_lines(out, run, name, direction)?;
        }
    }
    class_lines(out, run)?;
    if run.statistics.sync.moments().count() > 0 {
        writeln!(out, "  fsync/fdatasync:")?;
        latency_line(out, "   sync", &run.statistics.sync)?;
        percentile_lines(out, "sync", &run.statistics.sync)?;
    }
    usage_lines(out, run)?;
    depth_lines(out, run)?;
    if let Some(verified) = run.verified {
        let bytes = verified.blocks.saturating_mul(u64::from(run.plan.geometry.block_size.bytes()));
        writeln!(
            out,
            "  verify       : {} blocks ({}) judged, {} wrong",
            verified.blocks,
            bytes_binary(bytes as f64),
            verified.wrong_blocks
        )?;
    }
    status_lines(out, run)
}

fn head(out: &mut String, run: &Run<'_>) -> fmt::Result {
    let options = run.options;
    let (errno, words) = run.error.clone().unwrap_or((0, String::new()));
    let words = if words.is_empty() { words } else { format!(" ({words})") };
    writeln!(
        out,
        "{}: (g=0): rw={}, bs={}, ioengine=remora, iodepth={}, device={}",
        options.name,
        options.rw.name(),
        options.bs,
        options.iodepth,
        options.device
    )?;
    writeln!(
        out,
        "{}: (groupid=0, jobs={}): err={errno:2}{words}: pid={}: {}",
        options.name,
        options.numjobs,
        std::process::id(),
        ctime(run.unix_ms / 1000)
    )
}

fn direction_lines(
    out: &mut String,
    run: &Run<'_>,
    name: &str,
    direction: &DirectionStatistics,
) -> fmt::Result {
    let io_bytes = u64::from(run.plan.io_bytes);
    let bytes = direction.ios.saturating_mul(io_bytes);
    writeln!(
        out,
        "  {name}: IOPS={}, BW={}({}/{}msec)",
        short(per_second(direction.ios, direction.runtime_ns)),
        bandwidth(per_second(bytes, direction.runtime_ns)),
        bytes_binary(bytes as f64),
        direction.runtime_ns / 1_000_000
    )?;
    let latencies =
        [("slat", &direction.submission), ("clat", &direction.completion), (" lat", &direction.total)];
    for (name, latency) in latencies {
        latency_line(out, name, latency)?;
    }
    for (name, latency) in latencies {
        percentile_lines(out, name.trim_start(), latency)?;
    }
    let kib_per_s = direction.series.rates(direction.runtime_ns, io_bytes, 1024);
    let iops = direction.series.rates(direction.runtime_ns, 1, 1);
    sample_line(out, "bw (  KiB/s)", ", per=100.00%", &kib_per_s)?;
    sample_line(out, "iops        ", "", &iops)
}

fn sample_line(out: &mut String, name: &str, share: &str, samples: &Moments) -> fmt::Result {
    writeln!(
        out,
        "   {name}: min={:5}, max={:5}{share}, avg={:.2}, stdev={:.2}, samples={}",
        samples.min(),
        samples.max(),
        samples.mean(),
        samples.stddev(),
        samples.count()
    )
}

fn latency_line(out: &mut String, name: &str, latency: &Latency) -> fmt::Result {
    let moments = latency.moments();
    let unit = TimeUnit::for_range(moments.min(), moments.max());
    let value = |ns: u64| short(unit.of(ns as f64));
    writeln!(
        out,
        "    {name} ({}): min={}, max={}, avg={:.2}, stdev={:.2}",
        unit.name(),
        value(moments.min()),
        value(moments.max()),
        unit.of(moments.mean()),
        unit.of(moments.stddev())
    )
}

fn percentile_lines(out: &mut String, name: &str, latency: &Latency) -> fmt::Result {
    let values = PERCENTILES.map(|percent| latency.percentile(percent));
    let unit = TimeUnit::for_range(values[0], values[values.len() - 1]);
    writeln!(out, "    {name} percentiles ({}):", unit.name())?;
    let list: Vec<String> = PERCENTILES
        .iter()
        .zip(values)
        .map(|(percent, value_ns)| format!("{percent:5.2}th=[{:8.0}]", unit.of(value_ns as f64)))
        .collect();
    let lines = list.chunks(PERCENTILES_OF_LINE).map(|line| line.join(", "));
    writeln!(out, "     | {}", lines.collect::<Vec<_>>().join(",\n     | "))
}

fn class_lines(out: &mut String, run: &Run<'_>) -> fmt::Result {
    let mut classes = Classes::default();
    run.statistics.directions.iter().for_each(|direction| classes.add(&direction.total.classes()));
    let whole = run.statistics.ios();
    let named = |ends: &[u64]| -> Vec<String> { ends.iter().map(u64::to_string).collect() };
    let mut names_ms = named(&CLASSES_MS);
    names_ms.push(format!(">={}", CLASSES_MS[CLASSES_MS.len() - 1]));
    for (unit, names, counts) in [
        ("nsec", named(&CLASSES), &classes.ns[..]),
        ("usec", named(&CLASSES), &classes.us[..]),
        ("msec", names_ms, &classes.ms[..]),
    ] {
        let shares: Vec<String> = names
            .iter()
            .zip(counts)
            .map(|(name, count)| (name, percent(*count, whole)))
            .filter(|(_, share)| *share >= SHARE_MIN)
            .map(|(name, share)| format!("{name}={share:.2}%"))
            .collect();
        for line in shares.chunks(CLASSES_OF_LINE) {
            writeln!(out, "  lat ({unit})   : {}", line.join(", "))?;
        }
    }
    Ok(())
}

fn usage_lines(out: &mut String, run: &Run<'_>) -> fmt::Result {
    let usage = run.usage;
    writeln!(
        out,
        "  cpu          : usr={:.2}%, sys={:.2}%, ctx={}, majf={}, minf={}",
        run.percent_of_runtime(usage.user),
        run.percent_of_runtime(usage.system),
        usage.context_switches,
        usage.major_faults,
        usage.minor_faults
    )
}

fn depth_lines(out: &mut String, run: &Run<'_>) -> fmt::Result {
    let statistics = run.statistics;
    let depths = &statistics.depths;
    let line = |names: [&str; 7], counts: &[u64; 7]| {
        let whole = counts.iter().sum();
        let shares =
            names.iter().zip(counts).map(|(name, count)| format!("{name}={:.1}%", percent(*count, whole)));
        shares.collect::<Vec<_>>().join(", ")
    };
    let batches = ["0", "4", "8", "16", "32", "64", ">=64"];
    writeln!(out, "  IO depths    : {}", line(["1", "2", "4", "8", "16", "32", ">=64"], &depths.level))?;
    writeln!(out, "     submit    : {}", line(batches, &depths.submit))?;
    writeln!(out, "     complete  : {}", line(batches, &depths.complete))?;
    let [reads, writes, trims] = [0, 1, 2].map(|at: usize| statistics.directions[at].ios);
    writeln!(
        out,
        "     issued rwts: total={reads},{writes},{trims},{} short=0,0,0,0 dropped=0,0,0,0",
        statistics.sync.moments().count()
    )?;
    if statistics.failed_ios > 0 {
        writeln!(out, "     errors    : total={}", statistics.failed_ios)?;
    }
    Ok(())
}

fn status_lines(out: &mut String, run: &Run<'_>) -> fmt::Result {
    writeln!(out, "\nRun status group 0 (all jobs):")?;
    for (name, direction) in NAMES.into_iter().zip(&run.statistics.directions) {
        if direction.ios == 0 {
            continue;
        }
        let bytes = direction.ios.saturating_mul(u64::from(run.plan.io_bytes)) as f64;
        let rate = bytes * 1e9 / direction.runtime_ns.max(1) as f64;
        let (each, each_decimal) = (bytes_per_s(rate), bytes_decimal(rate));
        let run_ms = direction.runtime_ns / 1_000_000;
        writeln!(
            out,
            "{:>7}: bw={}, {each}-{each} ({each_decimal}/s-{each_decimal}/s), io={} ({}), run={run_ms}-{run_ms}msec",
            name.to_uppercase(),
            bandwidth(rate),
            bytes_binary(bytes),
            bytes_decimal(bytes)
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests_support::with_run;
    use super::*;

    #[test]
    fn the_report_has_fios_lines() {
        with_run("--rw randrw --bs 4k --iodepth 4 --fsync 2", |run| {
            let text = text(run);
            for line in [
                "bench: (g=0): rw=randrw, bs=4096, ioengine=remora, iodepth=4, device=mem:1MiB\n",
                "bench: (groupid=0, jobs=1): err= 0: pid=",
                "Sun Nov 22 00:13:49 2026\n",
                "  read: IOPS=1000, BW=3.91MiB/s (4.10MB/s)(8.00KiB/2msec)\n",
                "    slat (nsec): min=100, max=100, avg=100.00, stdev=0.00\n",
                "    clat (usec): min=900, max=1900, avg=1400.00, stdev=707.11\n",
                "     lat (usec): min=900, max=1900, avg=1400.10, stdev=707.11\n",
                "    clat percentiles (usec):\n     |  1.00th=[     9",
                "   iops        : min= 1000, max= 1000, avg=1000.00, stdev=0.00, samples=1\n",
                "  lat (usec)   : 1000=50.00%\n",
                "  lat (msec)   : 2=50.00%\n",
                "  fsync/fdatasync:\n       sync (usec): min=500, max=500, avg=500.00, stdev=0.00\n",
                "  cpu          : usr=50.00%, sys=25.00%, ctx=3, majf=0, minf=1\n",
                "     issued rwts: total=2,0,0,1 short=0,0,0,0 dropped=0,0,0,0\n",
                "  verify       : 7 blocks (3.50KiB) judged, 0 wrong\n",
                "   READ: bw=3.91MiB/s (4.10MB/s), 3.91MiB/s-3.91MiB/s (4.10MB/s-4.10MB/s), io=8.00KiB (8.19kB), run=2-2msec\n",
            ] {
                assert!(text.contains(line), "no {line:?} in\n{text}");
            }
            assert!(!text.contains("write: IOPS"), "{text}");
        });
    }
}
