//! The fields are fio's: compared with lists that were taken from the output of fio 3.33.

use super::super::tests_support::with_run;
use super::*;

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

fn words(text: &str) -> Vec<&str> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    words.sort_unstable();
    words
}

fn report(arguments: &str) -> Value {
    let mut value = Value::Null;
    with_run(arguments, |run| value = serde_json::from_str(&json(run)).unwrap());
    value
}

#[test]
fn every_field_of_fio_is_there() {
    let report = report("--rw randrw --iodepth 4");
    let top: Vec<&str> =
        vec!["disk_util", "fio version", "global options", "jobs", "time", "timestamp", "timestamp_ms"];
    assert_eq!(keys(&report), top);
    let job = &report["jobs"][0];
    let mut expected = words(
        "jobname groupid error eta elapsed read write trim sync job_runtime usr_cpu sys_cpu ctx majf minf \
         iodepth_level iodepth_submit iodepth_complete latency_ns latency_us latency_ms latency_depth latency_target \
         latency_percentile latency_window verify",
    );
    expected.push("job options");
    expected.sort_unstable();
    assert_eq!(keys(job), expected);
    let direction = words(
        "io_bytes io_kbytes bw_bytes bw iops runtime total_ios short_ios drop_ios slat_ns clat_ns lat_ns bw_min bw_max \
         bw_agg bw_mean bw_dev bw_samples iops_min iops_max iops_mean iops_stddev iops_samples",
    );
    for name in ["read", "write", "trim"] {
        assert_eq!(keys(&job[name]), direction);
    }
    assert_eq!(keys(&job["write"]["clat_ns"]), words("min max mean stddev N"));
    assert_eq!(keys(&job["read"]["clat_ns"]), words("min max mean stddev N percentile"));
    assert_eq!(keys(&job["sync"]), words("total_ios lat_ns"));
}

#[test]
fn every_class_and_percentile_of_fio_is_there() {
    let report = report("--rw randrw");
    let job = &report["jobs"][0];
    let ns = words("2 4 10 20 50 100 250 500 750 1000");
    assert_eq!((keys(&job["latency_ns"]), keys(&job["latency_us"])), (ns.clone(), ns));
    assert_eq!(keys(&job["latency_ms"]), words("2 4 10 20 50 100 250 500 750 1000 2000 >=2000"));
    assert_eq!(keys(&job["iodepth_level"]), words("1 2 4 8 16 32 >=64"));
    for name in ["iodepth_submit", "iodepth_complete"] {
        assert_eq!(keys(&job[name]), words("0 4 8 16 32 64 >=64"));
    }
    assert_eq!(
        keys(&job["read"]["clat_ns"]["percentile"]),
        words(
            "1.000000 5.000000 10.000000 20.000000 30.000000 40.000000 50.000000 60.000000 70.000000 80.000000 \
             90.000000 95.000000 99.000000 99.500000 99.900000 99.950000 99.990000"
        )
    );
}

#[test]
fn the_numbers_are_those_of_the_run() {
    let report = report("--rw randrw --iodepth 4 --name x --output-format json+");
    assert_eq!(report["time"], "Sun Nov 22 00:13:49 2026");
    assert_eq!(report["timestamp_ms"], 1_795_306_429_621u64);
    let job = &report["jobs"][0];
    assert_eq!((&job["jobname"], &job["elapsed"], &job["job_runtime"]), (&"x".into(), &2.into(), &2.into()));
    assert_eq!((&job["usr_cpu"], &job["sys_cpu"]), (&50.0.into(), &25.0.into()));
    let read = &job["read"];
    assert_eq!(
        (&read["io_bytes"], &read["bw_bytes"], &read["bw"]),
        (&8192.into(), &4_096_000.into(), &4000.into())
    );
    assert_eq!((&read["iops"], &read["total_ios"], &read["runtime"]), (&1000.0.into(), &2.into(), &2.into()));
    assert_eq!((&read["slat_ns"]["max"], &read["clat_ns"]["min"]), (&100.into(), &900_000.into()));
    assert_eq!((&read["lat_ns"]["max"], &read["lat_ns"]["N"]), (&1_900_100.into(), &2.into()));
    assert_eq!(read["clat_ns"]["bins"].as_object().unwrap().len(), 2);
    assert_eq!((&job["latency_us"]["1000"], &job["latency_ms"]["2"]), (&50.0.into(), &50.0.into()));
    assert_eq!((&job["sync"]["total_ios"], &job["sync"]["lat_ns"]["mean"]), (&1.into(), &500_000.0.into()));
    assert_eq!((&job["verify"]["blocks"], &job["job options"]["rw"]), (&7.into(), &"randrw".into()));
}

#[test]
fn the_order_is_fios() {
    with_run("--rw read", |run| {
        let text = json(run);
        let at = |name: &str| text.find(&format!("\"{name}\"")).unwrap();
        let order = [
            "fio version",
            "timestamp",
            "time",
            "global options",
            "jobs",
            "jobname",
            "read",
            "write",
            "sync",
        ];
        assert!(order.windows(2).all(|pair| at(pair[0]) < at(pair[1])));
    });
}
