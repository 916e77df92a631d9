//! What the keys of a file mean, and what is wrong with them, by line.

mod limits;
mod subsystems;

use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use block::parse_size;
use nvmf::controller::limits::LISTENERS_MAX;
use serde::de::DeserializeOwned;
use toml::Spanned;
use tracing::Level;

use super::file::{File, Size, Versioned};
use super::names::Machine;
use super::problem::{Problem, Problems};
use super::values::{LISTENER_DEFAULT, read_listener, read_metrics};
use super::{Config, ControlPath, DRAIN_TIMEOUT_DEFAULT, DRAIN_TIMEOUT_MAX, Namespace, VERSION};
use crate::engine::{Poll, REACTORS_MAX};

/// The model that Identify tells if the file does not.
pub(super) const MODEL_DEFAULT: &str = "Remora";

/// Words for levels of logging.
const LEVELS: &str = "error, warn, info, debug or trace";

/// Reads a file's text.
pub(crate) fn from_toml(text: &str, machine: &Machine) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::of(text);
    let config = read_version(text, &mut problems)
        .and_then(|()| parse::<File>(text, &mut problems))
        .map(|file| Checker { problems: &mut problems, machine, devices: Vec::new() }.config(file));
    let found = problems.into_found();
    match config {
        Some(config) if found.is_empty() => Ok(config),
        _ => Err(found),
    }
}

/// The version comes first: keys of another one would only seem to be unknown.
fn read_version(text: &str, problems: &mut Problems<'_>) -> Option<()> {
    let versioned: Versioned = parse(text, problems)?;
    let Some(version) = versioned.version else {
        problems.note(&(0..0), format_args!("`version = {VERSION}` is missing"));
        return None;
    };
    if version.get_ref().as_integer().and_then(|version| u64::try_from(version).ok()) == Some(VERSION) {
        return Some(());
    }
    let found = version.get_ref();
    problems.note(&version.span(), format_args!("version {found}: this program reads version {VERSION}"));
    None
}

fn parse<T: DeserializeOwned>(text: &str, problems: &mut Problems<'_>) -> Option<T> {
    let read = toml::from_str(text);
    read.map_err(|error| problems.note(&error.span().unwrap_or(0..0), error.message())).ok()
}

struct Checker<'a, 'b> {
    problems: &'a mut Problems<'b>,
    machine: &'a Machine,
    /// Of all subsystems, at most [`crate::engine::EXPORTS_MAX`].
    devices: Vec<Namespace>,
}

impl Checker<'_, '_> {
    fn config(mut self, file: File) -> Config {
        let limits = self.limits(&file.limits);
        Config {
            listeners: self.listeners(file.listen.as_deref()),
            provider: self.parsed(file.provider.as_ref(), |text| text.parse()).unwrap_or_default(),
            reactors: self.reactors(file.cores.as_deref(), file.reactors.as_ref()),
            poll: self.parsed(file.poll.as_ref(), read_poll).unwrap_or_default(),
            buffers: self.buffers(&file.buffers),
            limits,
            metrics: self.parsed(file.metrics.as_ref(), read_metrics),
            control: self.parsed(file.control.as_ref(), read_control).unwrap_or_default(),
            state_dir: file.state_dir,
            log: self.parsed(file.log.as_ref(), read_level).unwrap_or(Level::INFO),
            drain_timeout: self.drain_timeout(file.drain_timeout_s.as_ref()),
            subsystems: self.subsystems(file.subsystem),
        }
    }

    /// A text's meaning, if the key is there and good.
    fn parsed<T, E: Display>(
        &mut self,
        text: Option<&Spanned<String>>,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = text?;
        self.problems.take(&text.span(), read(text.get_ref()))
    }

    fn size(&mut self, size: Option<&Spanned<Size>>) -> Option<u64> {
        let size = size?;
        self.problems.take(&size.span(), parse_size(&size.get_ref().0))
    }

    fn size_u32(&mut self, size: Option<&Spanned<Size>>, default: u32) -> u32 {
        let bytes = self.size(size);
        // Too much of anything is refused by its own limit.
        bytes.map_or(default, |bytes| u32::try_from(bytes).unwrap_or(u32::MAX))
    }

    fn listeners(&mut self, listen: Option<&[Spanned<String>]>) -> Vec<SocketAddr> {
        let Some(listen) = listen else { return vec![LISTENER_DEFAULT] };
        let mut listeners = Vec::new();
        for text in listen {
            let Some(listener) = self.parsed(Some(text), read_listener) else { continue };
            if listeners.contains(&listener) {
                self.problems.note(&text.span(), format_args!("{listener} is listed twice"));
            } else if listeners.len() == LISTENERS_MAX {
                self.problems.note(&text.span(), format_args!("more than {LISTENERS_MAX} listeners"));
                break;
            } else {
                listeners.push(listener);
            }
        }
        listeners
    }

    fn reactors(
        &mut self,
        cores: Option<&[Spanned<usize>]>,
        reactors: Option<&Spanned<usize>>,
    ) -> Vec<Option<usize>> {
        match (cores, reactors) {
            (None, None) => vec![None],
            (None, Some(count)) => {
                if !(1..=REACTORS_MAX).contains(count.get_ref()) {
                    self.problems.note(&count.span(), format_args!("reactors: 1 to {REACTORS_MAX}"));
                }
                vec![None; (*count.get_ref()).min(REACTORS_MAX)]
            }
            (Some(cores), count) => {
                if let Some(count) = count {
                    self.problems.note(&count.span(), "`cores` says how many reactors there are already");
                }
                self.cores(cores)
            }
        }
    }

    fn cores(&mut self, cores: &[Spanned<usize>]) -> Vec<Option<usize>> {
        let of_machine: Option<Vec<usize>> =
            core_affinity::get_core_ids().map(|cores| cores.into_iter().map(|core| core.id).collect());
        let mut pinned = Vec::new();
        for core in cores {
            let (span, core) = (core.span(), *core.get_ref());
            if of_machine.as_ref().is_some_and(|cores| !cores.contains(&core)) {
                self.problems.note(&span, format_args!("core {core}: this process may not run there"));
            } else if pinned.contains(&Some(core)) {
                self.problems.note(&span, format_args!("core {core} is listed twice"));
            }
            pinned.push(Some(core));
        }
        if pinned.len() > REACTORS_MAX {
            self.problems.note(&cores[REACTORS_MAX].span(), format_args!("more than {REACTORS_MAX} cores"));
        }
        if pinned.is_empty() { vec![None] } else { pinned }
    }

    fn drain_timeout(&mut self, seconds: Option<&Spanned<u64>>) -> Duration {
        let Some(seconds) = seconds else { return DRAIN_TIMEOUT_DEFAULT };
        let timeout = Duration::from_secs(*seconds.get_ref());
        if timeout > DRAIN_TIMEOUT_MAX {
            let most = DRAIN_TIMEOUT_MAX.as_secs();
            self.problems.note(&seconds.span(), format_args!("drain_timeout_s: at most {most}"));
        }
        timeout
    }
}

fn read_poll(text: &str) -> Result<Poll, String> {
    match text {
        "always" => Ok(Poll::Always),
        "adaptive" => Ok(Poll::Adaptive),
        _ => Err(format!("`{text}` is no way to wait: write always or adaptive")),
    }
}

/// A level of logging.
pub(crate) fn read_level(text: &str) -> Result<Level, String> {
    let known = [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE];
    let found = known.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("`{text}` is no level: write {LEVELS}"))
}

/// Where the control socket is to be: `none`, or a path.
pub(crate) fn read_control(text: &str) -> Result<ControlPath, String> {
    match text {
        "" => Err("a path, or none".to_owned()),
        "none" => Ok(ControlPath::None),
        path => Ok(ControlPath::At(PathBuf::from(path))),
    }
}
