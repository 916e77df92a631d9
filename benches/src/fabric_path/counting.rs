//! Instructions of one I/O, counted by callgrind: this program runs itself under it twice, with different numbers of I/Os, and the
//! difference is theirs alone.
//!
//! What moves and checks bytes is counted apart from the protocol: a zero-copy provider has none of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::FabricError;

/// I/Os of the two runs.
const COUNTS: [u64; 2] = [4_000, 12_000];

/// Symbols that are not the protocol's, by a part of their names: checksums, copies, the C library's calls into the kernel.
const EXCLUDED: [(&str, &[&str]); 3] = [
    ("ICRC", &["crc_fast", "crc32", "soft::wire::crc"]),
    ("copies", &["memcpy", "memmove", "memset", "copy_nonoverlapping"]),
    ("kernel calls of libc", &["recvmmsg", "sendmmsg", "epoll", "clock_gettime", "poll", "read", "write"]),
];

/// The target's symbols, by a part of their names; the host's. What both use counts for both together.
const TARGET: [&str; 2] = ["target_daemon::", "nvmf::controller::"];
const HOST: [&str; 3] = ["initiator::", "nvmf::host::", "block::split"];

/// A table of what one I/O takes.
pub fn count(is_write: bool) -> Result<String, FabricError> {
    let [few, many] = [counted(COUNTS[0], is_write)?, counted(COUNTS[1], is_write)?];
    let mut groups: BTreeMap<&'static str, f64> = BTreeMap::new();
    for (symbol, more) in &many {
        let less = few.get(symbol).copied().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "instructions of a short run are far below 2^52")]
        let each = more.saturating_sub(less) as f64 / (COUNTS[1] - COUNTS[0]) as f64;
        *groups.entry(group(symbol)).or_default() += each;
    }
    let excluded = |name: &&str| EXCLUDED.iter().any(|(group, _)| group == name);
    let protocol: f64 = groups.iter().filter(|(name, _)| !excluded(name)).map(|(_, each)| each).sum();
    let mut text = String::new();
    for (name, each) in &groups {
        let _ = writeln!(text, "  {name:<28}{each:>8.0}");
    }
    let all: f64 = groups.values().sum();
    let _ = writeln!(text, "  protocol code of both       {protocol:>8.0}  (goal: 1500)\n  all{all:>33.0}");
    Ok(text)
}

fn group(symbol: &str) -> &'static str {
    let has = |parts: &[&str]| parts.iter().any(|part| symbol.contains(part));
    if has(&TARGET) {
        return "target";
    }
    if has(&HOST) {
        return "host";
    }
    if let Some((name, _)) = EXCLUDED.iter().find(|(_, parts)| has(parts)) {
        return name;
    }
    if symbol.contains("rdma::") { "soft RDMA of both" } else { "what both use" }
}

/// Instructions by symbol.
fn counted(ios: u64, is_write: bool) -> Result<BTreeMap<String, u64>, FabricError> {
    let failed = |why: String| FabricError::Count(why);
    let program = std::env::current_exe().map_err(|why| failed(why.to_string()))?;
    let output = std::env::temp_dir().join(format!("fabric-path.{}.callgrind", std::process::id()));
    let status = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", output.display()))
        .arg(program)
        .args(["--bare", &ios.to_string()])
        .args(is_write.then_some("--write"))
        .stdout(Stdio::null())
        .status()
        .map_err(|why| failed(format!("cannot run valgrind ({why}); it is in every distribution")))?;
    if !status.success() {
        return Err(failed(format!("valgrind ended with {status}")));
    }
    let symbols = annotated(&output);
    // Nothing is lost if it stays.
    let _ = std::fs::remove_file(&output);
    symbols
}

fn annotated(output: &Path) -> Result<BTreeMap<String, u64>, FabricError> {
    let annotate = Command::new("callgrind_annotate").arg("--threshold=100").arg(output).output();
    let annotate = annotate.map_err(|why| FabricError::Count(why.to_string()))?;
    let text = String::from_utf8_lossy(&annotate.stdout);
    let mut symbols = BTreeMap::new();
    for (count, symbol) in text.lines().filter_map(line) {
        *symbols.entry(symbol.to_owned()).or_default() += count;
    }
    if symbols.is_empty() {
        Err(FabricError::Count("callgrind_annotate told nothing".into()))
    } else {
        Ok(symbols)
    }
}

/// `1,234 ( 5.6%)  file:symbol [object]`
fn line(line: &str) -> Option<(u64, &str)> {
    let (count, rest) = line.trim_start().split_once(" (")?;
    let count = count.replace(',', "").parse().ok()?;
    let (_, symbol) = rest.split_once("%)")?;
    Some((count, symbol.trim_start())).filter(|(_, symbol)| !symbol.starts_with("PROGRAM TOTALS"))
}
