//! What our tools say of a drive is what nvme-cli says of it, field by field: the controller, a namespace, and its logs.
//! nvme-cli asks through the kernel's driver, we through our own.

use super::{SMOKE, Scenario};
use crate::error::{Result, ensure};
use crate::guest::Lab;
use crate::machine::{DRIVE, Machine, NS_4096};

pub const SCENARIO: Scenario = Scenario {
    name: "identify",
    set: SMOKE,
    about: "id-ctrl, id-ns, smart-log, error-log and fw-log say what nvme-cli says",
    story,
};

/// A command with fewer fields in nvme-cli's words was not understood by this scenario.
const FIELDS_MIN: usize = 2;

/// Counters of the drive's use, which go on between one look and the next.
const MOVING: [&str; 7] = [
    "data units read",
    "data units written",
    "host_read_commands",
    "host_write_commands",
    "controller_busy_time",
    "power_cycles",
    "power_on_hours",
];

fn story(lab: &Lab) -> Result<()> {
    let mut guest = lab.boot(&Machine::default())?;
    guest.run(&format!("hugepages 16; give {DRIVE} nvme; disk_of {DRIVE} {}", NS_4096.nsid))?;
    let nsid = NS_4096.nsid;
    // nvme-cli's command line, and ours.
    let commands = [
        ("id-ctrl /dev/nvme0".to_owned(), format!("id-ctrl nvme:{DRIVE}/1")),
        (format!("id-ns /dev/nvme0 -n {nsid}"), format!("id-ns nvme:{DRIVE}/{nsid}")),
        ("smart-log /dev/nvme0".to_owned(), format!("smart-log nvme:{DRIVE}/1")),
        ("error-log /dev/nvme0".to_owned(), format!("error-log nvme:{DRIVE}/1")),
        ("fw-log /dev/nvme0".to_owned(), format!("fw-log nvme:{DRIVE}/1")),
    ];
    let mut theirs = Vec::new();
    for (command, _) in &commands {
        theirs.push(fields(&guest.run(&format!("nvme {command}"))?));
    }
    guest.run(&format!("give {DRIVE} vfio-pci"))?;
    for ((_, command), theirs) in commands.iter().zip(theirs) {
        let ours = fields(&guest.run(&format!("remora {command}"))?);
        same(command, &theirs, &ours)?;
    }
    Ok(())
}

/// Name and value of each line that has both, without the blanks that align them. Headings name the device, each
/// driver's by another name, and are left out.
fn fields(text: &str) -> Vec<(String, String)> {
    let tidy = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = text.lines().filter(|line| !line.contains("nvme0") && !line.contains(DRIVE));
    let pairs = lines.filter_map(|line| line.split_once(':'));
    pairs.map(|(name, value)| (tidy(name).to_lowercase(), tidy(value))).collect()
}

/// Every field of nvme-cli's is ours, with the same value.
fn same(command: &str, theirs: &[(String, String)], ours: &[(String, String)]) -> Result<()> {
    ensure(theirs.len() >= FIELDS_MIN, || format!("{command}: nvme-cli printed {theirs:?} only"))?;
    let mut differences = String::new();
    for (name, value) in theirs {
        let mut same_name = ours.iter().filter(|(our_name, _)| our_name == name).peekable();
        let instead = same_name.peek().map(|(_, value)| value.clone());
        let is_moving = MOVING.contains(&name.as_str()) && instead.is_some();
        if !is_moving && !same_name.any(|(_, our_value)| is_same_value(name, value, our_value)) {
            differences.push_str(&format!("\n{name}: nvme-cli says {value}, and we say {instead:?}"));
        }
    }
    ensure(differences.is_empty(), || format!("{command}:{differences}"))
}

fn is_same_value(name: &str, theirs: &str, ours: &str) -> bool {
    match name {
        // A number and a name, and then nvme-cli has a sentence of its own about it.
        "status_field" => {
            let told =
                |value: &str| value.split(':').next().unwrap_or_default().trim_end_matches(')').to_owned();
            told(theirs) == told(ours)
        }
        // nvme-cli has a sentence only, and ours is a word.
        "trtype" => !ours.is_empty(),
        _ => theirs == ours,
    }
}
