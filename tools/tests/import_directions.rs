//! The house rule of docs/architecture.md: crates import downward only. A crate that is not in the table fails too, so
//! that whoever adds one decides where it lives.

use std::collections::BTreeMap;
use std::process::Command;

/// What each crate may import of ours.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("dma", &[]),
    ("nvme-spec", &[]),
    ("block", &["dma", "nvme-spec"]),
    ("nvme-driver", &["block", "dma", "nvme-spec"]),
    ("rdma", &["block", "dma"]),
    ("nvmf", &["block", "nvme-spec"]),
    ("replication", &["block", "nvme-spec"]),
    // It carries datagrams and knows nobody who sends them.
    ("sim", &["block"]),
    // The software SSD takes the seam `nvme_driver::pci` and the function that opens a controller; the driver's queue
    // code is private to it.
    ("nvme-model", &["block", "dma", "nvme-driver", "nvme-spec"]),
    ("initiator", &["block", "dma", "nvme-spec", "nvmf", "rdma"]),
    (
        "target-daemon",
        // A mirror's leg is a remote namespace.
        &["block", "dma", "initiator", "nvme-driver", "nvme-model", "nvme-spec", "nvmf", "rdma"],
    ),
    (
        "remora-tools",
        &[
            "block",
            "dma",
            "initiator",
            "nvme-driver",
            "nvme-model",
            "nvme-spec",
            "nvmf",
            "rdma",
            "target-daemon",
        ],
    ),
    (
        "remora-benches",
        // The loads of `remora rdma perf`.
        &[
            "block",
            "dma",
            "initiator",
            "nvme-driver",
            "nvme-model",
            "nvme-spec",
            "nvmf",
            "rdma",
            "remora-tools",
            "target-daemon",
        ],
    ),
    // It runs our programs as a user does.
    ("lab", &[]),
];

#[test]
fn crates_import_downward_only() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON");
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() >= 6, "the workspace's crates are listed");
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        let may = allowed
            .get(name)
            .unwrap_or_else(|| panic!("crate {name} has no place in the table of this test"));
        for dependency in package["dependencies"].as_array().expect("a list of dependencies") {
            let imports = dependency["name"].as_str().expect("a name");
            let is_normal = dependency["kind"].is_null();
            if is_normal && allowed.contains_key(imports) {
                assert!(may.contains(&imports), "{name} imports {imports}, which is not below it");
            }
        }
    }
}
