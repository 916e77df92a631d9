//! Power states (Base, Power State Descriptor Data Structure).

use nvme_spec::identify::{PowerScale, PowerState};

use super::json::Object;

pub(super) fn text(index: usize, state: &PowerState) -> String {
    let mode = if state.is_non_operational() { "non-operational" } else { "operational" };
    format!(
        "ps {index:6} : mp:{} {mode} enlat:{} exlat:{} rrt:{} rrl:{}\n            \
         rwt:{} rwl:{} idle_power:{} active_power:{}\n            active_power_workload:{}\n",
        watts(state.maximum_power, state.maximum_power_unit()),
        state.entry_latency_us,
        state.exit_latency_us,
        state.rrt,
        state.rrl,
        state.rwt,
        state.rwl,
        watts(state.idlp, state.idle_power_unit()),
        watts(state.actp, state.active_power_unit()),
        workload(state.active_power_workload()),
    )
}

pub(super) fn json(state: &PowerState) -> Object {
    let mut object = Object::default();
    object.value("max_power", state.maximum_power);
    object.value("flags", state.flags);
    object.value("entry_lat", state.entry_latency_us);
    object.value("exit_lat", state.exit_latency_us);
    object.value("read_tput", state.rrt);
    object.value("read_lat", state.rrl);
    object.value("write_tput", state.rwt);
    object.value("write_lat", state.rwl);
    object.value("idle_power", state.idlp);
    object.value("idle_scale", state.idle_power_unit() as u8);
    object.value("active_power", state.actp);
    object.value("active_power_work", state.active_power_workload());
    object.value("active_scale", state.active_power_unit() as u8);
    object
}

fn watts(power: u16, unit: PowerScale) -> String {
    match unit {
        PowerScale::NotReported => "-".to_owned(),
        PowerScale::TenThousandths => format!("{}.{:04}W", power / 10_000, power % 10_000),
        PowerScale::Hundredths => format!("{}.{:02}W", power / 100, power % 100),
        PowerScale::Reserved => "reserved".to_owned(),
    }
}

/// The workloads that the specification defines (Base, NVM Subsystem Workloads).
fn workload(number: u8) -> &'static str {
    match number {
        0 => "-",
        1 => "1MiB 32 RW, 30s idle",
        2 => "80K 128KiB SW",
        _ => "reserved",
    }
}
