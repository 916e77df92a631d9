//! Machines that lack one thing each, and machines whose files hold anything.

use proptest::prelude::*;
use rdma::{PathMtu, PortState};

use super::finding::State;
use super::test_machine::TestMachine;
use super::*;

fn finding(machine: &TestMachine, name: &str) -> Finding {
    let findings = examine(&machine.machine, &[]);
    findings
        .into_iter()
        .find(|finding| finding.name == name)
        .unwrap_or_else(|| panic!("nothing is said of {name}"))
}

/// What is wrong with a machine, by name.
fn wrong(machine: &TestMachine) -> Vec<&'static str> {
    let findings = examine(&machine.machine, &[]);
    findings.iter().filter(|finding| finding.state != State::Ok).map(|finding| finding.name).collect()
}

fn exit(machine: &TestMachine, uses: &[Use]) -> u8 {
    exit_code(&examine(&machine.machine, uses), uses)
}

#[test]
fn a_machine_that_lacks_nothing_gets_no_advice() {
    let machine = TestMachine::whole();
    assert_eq!(wrong(&machine), [""; 0]);
    assert_eq!(exit(&machine, &Use::ALL), 0);
    let ports = finding(&machine, "rdma devices").found;
    assert_eq!(ports, "mlx5_0/1 active (Ethernet), mlx5_1/1 down (Ethernet)");
    assert_eq!(finding(&machine, "udp port 4791").found, "in use at 127.0.0.2, free elsewhere");
    assert_eq!(finding(&machine, "processors").found, "64 for this process (0-63), isolated: 8-15");
}

/// A file that changes, what is found of it then, and whether that rules a use out.
type Case = (&'static str, &'static str, &'static str, &'static str, State);

const CASES: &[Case] = &[
    ("proc/sys/kernel/osrelease", "4.19.0\n", "kernel", "one by one", State::Advice),
    ("proc/sys/kernel/io_uring_disabled", "2\n", "io_uring", "switched off", State::Advice),
    ("proc/sys/kernel/io_uring_disabled", "1\n", "io_uring", "for some", State::Advice),
    ("proc/sys/net/core/rmem_default", "65536\n", "socket buffers", "64 KiB by default", State::Advice),
    ("proc/self/status", "Cpus_allowed_list:\t3\n", "processors", "1 for this process (3)", State::Advice),
    ("proc/self/limits", "Max open files 1024 1 files\n", "nofile", "1024 descriptors", State::Advice),
    ("proc/self/limits", "Max locked memory 8388608 1 bytes\n", "memlock", "8 MiB may", State::Advice),
    ("proc/self/limits", "", "memlock", "cannot be read", State::Advice),
    (
        "sys/fs/cgroup/system.slice/remora.service/cpu.max",
        "150000 100000\n",
        "processor quota",
        "1.50 processors",
        State::Advice,
    ),
    (
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        "powersave\n",
        "frequency",
        "powersave",
        State::Advice,
    ),
    ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0\n", "hugepages", "none", State::Advice),
    (
        "sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
        "0\n",
        "hugepages",
        "all in use",
        State::Advice,
    ),
    (
        "sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages",
        "0\n",
        "hugepages by node",
        "none on node1",
        State::Advice,
    ),
    ("proc/net/udp", "1: 00000000:12B7 00000000:0000\n", "udp port 4791", "on all addresses", State::Missing),
    (
        "proc/net/udp6",
        "1: 00000000000000000000000000000000:12B7 0\n",
        "udp port 4791",
        "on all",
        State::Missing,
    ),
    (
        "sys/class/infiniband/mlx5_0/ports/1/state",
        "1: DOWN\n",
        "rdma devices",
        "mlx5_0/1 down",
        State::Missing,
    ),
];

#[test]
fn each_lack_is_found_alone() {
    for (path, text, name, found, state) in CASES {
        let machine = TestMachine::whole();
        machine.put(path, text.as_bytes());
        let finding = finding(&machine, name);
        assert!(finding.found.contains(found), "{path}: {}", finding.found);
        assert_eq!(finding.state, *state, "{path}");
        assert!(finding.mend.is_some(), "{path}");
        // A limit's file tells of two.
        let others: Vec<_> = wrong(&machine).into_iter().filter(|other| other != name).collect();
        assert!(others.is_empty() || *path == "proc/self/limits", "{path}: {others:?}");
        assert_eq!(u8::from(*state == State::Missing), exit(&machine, finding.uses), "{path}");
        assert_eq!(exit(&machine, &[]), 0, "nothing was asked for");
    }
}

#[test]
fn what_is_not_there_rules_its_use_out_and_no_other() {
    let cases = [
        ("sys/kernel/iommu_groups", "iommu", Use::Nvme),
        ("dev/vfio/vfio", "vfio", Use::Nvme),
        ("sys/bus/pci/drivers/vfio-pci", "vfio", Use::Nvme),
        ("sys/bus/pci/devices", "nvme drives", Use::Nvme),
        ("sys/class/infiniband", "rdma devices", Use::Rdma),
        ("dev/infiniband/rdma_cm", "rdma files", Use::Rdma),
        ("dev/infiniband/uverbs0", "rdma files", Use::Rdma),
    ];
    for (path, name, of) in cases {
        let machine = TestMachine::whole();
        machine.remove(path);
        assert_eq!(finding(&machine, name).state, State::Missing, "{path}");
        for other in Use::ALL {
            assert_eq!(exit(&machine, &[other]) != 0, other == of, "{path}");
        }
    }
}

#[test]
fn providers_that_say_why_are_quoted() {
    let mut machine = TestMachine::whole();
    machine.machine.verbs = Err("libibverbs.so.1 cannot be loaded: no such file".to_owned());
    assert!(finding(&machine, "libibverbs").found.contains("no such file"));
    assert_eq!((exit(&machine, &[Use::Rdma]), exit(&machine, &[Use::Soft])), (1, 0));
    let soft = machine.machine.soft.as_mut().unwrap();
    soft[1].mtu = PathMtu::Bytes1024;
    let advice = finding(&machine, "mtu");
    assert_eq!((advice.state, advice.found.as_str()), (State::Advice, "eth0 9000 (packets of 1024)"));
    let soft = machine.machine.soft.as_mut().unwrap();
    soft.iter_mut().for_each(|device| device.state = PortState::Down);
    assert_eq!(exit(&machine, &[Use::Soft]), 1);
    machine.machine.soft = Err("devices cannot be listed".to_owned());
    assert_eq!(exit(&machine, &[Use::Target]), 1);
}

#[test]
fn a_capability_lifts_the_limit_of_locked_memory() {
    let machine = TestMachine::whole();
    machine.put("proc/self/limits", b"Max locked memory 65536 65536 bytes\n");
    machine.put("proc/self/status", b"CapEff:\t0000000000004000\nCpus_allowed_list:\t0-1\n");
    assert_eq!(finding(&machine, "memlock").state, State::Ok);
    machine.put("proc/self/status", b"CapEff:\tffffffffffffbfff\nCpus_allowed_list:\t0-1\n");
    assert_eq!(finding(&machine, "memlock").state, State::Advice);
}

#[test]
fn only_what_matters_for_the_named_uses_is_said() {
    let machine = TestMachine::whole();
    let names: Vec<_> = examine(&machine.machine, &[Use::Soft]).iter().map(|finding| finding.name).collect();
    assert!(names.contains(&"udp port 4791") && !names.contains(&"iommu"), "{names:?}");
}

#[test]
fn the_report_has_a_verdict_for_each_use() {
    let machine = TestMachine::whole();
    machine.remove("sys/kernel/iommu_groups");
    machine.put("proc/sys/net/core/rmem_default", b"65536\n");
    let findings = examine(&machine.machine, &[]);
    let text = report::text(&findings, &[]);
    assert!(text.contains("\nmissing iommu             none, or it is off\n        keeps a drive"), "{text}");
    assert!(text.contains("\n        mend: enable VT-d"), "{text}");
    let verdicts = "\n\nnvme    not possible here: iommu\nrdma    works\nsoft    works; see the advice on socket buffers\ntarget  works\n";
    assert!(text.ends_with(verdicts), "{text}");
    let value: serde_json::Value = serde_json::from_str(&report::json(&findings, &[]).unwrap()).unwrap();
    let uses = serde_json::json!([
        {"use": "nvme", "possible": false},
        {"use": "rdma", "possible": true},
        {"use": "soft", "possible": true},
        {"use": "target", "possible": true},
    ]);
    assert_eq!(value["uses"], uses);
    assert_eq!(value["findings"].as_array().unwrap().len(), findings.len());
    assert_eq!(value["findings"][0]["state"], "ok");
}

#[test]
fn a_machine_without_files_is_looked_at_too() {
    let machine = TestMachine::empty();
    assert_eq!(exit(&machine, &Use::ALL), 1);
    assert!(report::text(&examine(&machine.machine, &[]), &[]).contains("cannot be read"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the files hold, there is a report, and no terminal obeys it.
    #[test]
    fn any_content_makes_a_report(seeds in proptest::collection::vec(".{0,40}|[0-9: \\-,]{0,40}", 32), folder in 0usize..32) {
        let machine = TestMachine::whole();
        for (path, text) in TestMachine::files().zip(seeds.iter().cycle()) {
            machine.put(path, text.as_bytes());
        }
        // A folder where a file is expected.
        let path = TestMachine::files().nth(folder).unwrap_or("proc/self/limits");
        machine.remove(path);
        machine.put(&format!("{path}/x"), b"");
        let findings = examine(&machine.machine, &[]);
        let text = report::text(&findings, &[]);
        prop_assert!(!text.chars().any(|letter| letter.is_control() && letter != '\n' && letter != '\t'));
        prop_assert!(report::json(&findings, &[]).is_ok());
    }
}
