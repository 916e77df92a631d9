//! How much memory this process may keep in place: what an IOMMU maps counts.

use std::fs;

use rustix::process::{Resource, getrlimit};

/// What to say when the kernel has no room for `bytes` more bytes of pinned memory.
pub(super) fn refusal(bytes: usize) -> String {
    let locked = fs::read_to_string("/proc/self/status").ok().and_then(|status| locked_bytes(&status));
    explain(locked.unwrap_or(0), bytes as u64, getrlimit(Resource::Memlock).current)
}

/// The pages that are locked or pinned (`VmLck`, proc(5)), in bytes.
fn locked_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn explain(locked: u64, wanted: u64, limit: Option<u64>) -> String {
    let Some(limit) = limit else {
        return "the kernel has no memory for the IOMMU's page tables".to_owned();
    };
    let needed = locked.saturating_add(wanted);
    format!(
        "too little memory may be locked: {locked} bytes are, {needed} would be, and the limit is {limit} (memlock): \
         raise it with `ulimit -l unlimited`, or LimitMEMLOCK=infinity for a service"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_told_with_what_is_needed() {
        assert_eq!(locked_bytes("VmPeak:\t 10 kB\nVmLck:\t    2048 kB\nVmPin: 0 kB\n"), Some(2 << 20));
        assert_eq!(locked_bytes("VmLck: many"), None);
        let said = explain(1 << 20, 2 << 20, Some(8192));
        assert!(said.contains("1048576 bytes are, 3145728 would be, and the limit is 8192"), "{said}");
        assert!(!explain(0, 1, None).contains("memlock"));
    }
}
