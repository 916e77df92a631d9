//! The attaching process: the server runs in a thread of its own; this one waits for signals and for whoever asks.

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use block::{OpenOptions, Sleeper, Timestamp};
use initiator::nbd::{Address, ExportName, Server, ServerOptions};

use super::AttachOptions;
use super::control::{Ask, Description, Ended, answer, hear};
use super::error::AttachError;
use super::notify;
use super::registry::{Registration, Registry};
use super::signals::Signals;
use crate::devices::openers;

/// Attaches a device until it is told to stop.
pub(super) fn attach(options: &AttachOptions) -> Result<(), AttachError> {
    let name = options.name.clone().map_or_else(|| default_name(&options.nbd), Ok)?;
    for address in options.nbd.iter().filter(|address| address.is_remote()) {
        tracing::warn!(
            "{address}: whoever reaches this address can use the device: there are neither passwords nor encryption"
        );
    }
    let registration = Registry::open()?.register(&name)?;
    let signals = Signals::note().map_err(AttachError::Signals)?;
    let mut sleeper = Sleeper::new()?;
    sleeper.add(signals.descriptor())?;
    sleeper.add(registration.listener.as_raw_fd())?;

    let access = if options.read_only { OpenOptions::READ } else { OpenOptions::READ_WRITE };
    let device = openers().open_text(&options.device, &access)?;
    let server = Server::start(
        device,
        ServerOptions {
            name,
            addresses: options.nbd.clone(),
            read_only: options.read_only,
            poll: options.poll.into(),
            clients_max: options.connections.into(),
            on_end: Some(sleeper.waker()),
        },
    )?;
    say_ready(&server).map_err(AttachError::Output)?;
    serve(server, sleeper, signals, &registration)
}

/// The name of the first place's file, or of its port.
fn default_name(addresses: &[Address]) -> Result<ExportName, AttachError> {
    let text = match addresses.first() {
        Some(Address::Unix(path)) => {
            path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
        }
        Some(Address::Tcp(address)) => format!("tcp-{}", address.port()),
        None => String::new(),
    };
    text.parse().map_err(AttachError::Name)
}

fn say_ready(server: &Server) -> io::Result<()> {
    let Description { name, pid, uris, .. } = Description::of(server);
    let mut stdout = io::stdout();
    writeln!(stdout, "remora attach: ready, pid {pid}, name {name}, {}", uris.join(" "))?;
    stdout.flush()?;
    notify::tell(&format!("READY=1\nSTATUS={} at {}", server.export().description, uris.join(" ")));
    Ok(())
}

/// Waits for the end. Whoever asked for it is told how it was.
fn serve(
    server: Server,
    mut sleeper: Sleeper,
    mut signals: Signals,
    registration: &Registration,
) -> Result<(), AttachError> {
    let mut waiting = Vec::new();
    let mut is_stopping = false;
    while !server.has_ended() {
        let mut stop = signals.has_come();
        stop |= hear_all(&server, registration, &mut waiting);
        if stop && !is_stopping {
            is_stopping = true;
            notify::tell("STOPPING=1");
            server.stop();
        }
        sleeper.sleep_until(Timestamp::default(), Timestamp::NEVER)?;
    }
    let result = server.wait();
    let ended = Ended { error: result.as_ref().err().map(ToString::to_string) };
    for stream in waiting {
        tell(&stream, &ended);
    }
    Ok(result?)
}

/// Answers whoever has come; keeps those that wait for the end. Whether somebody wants it.
fn hear_all(server: &Server, registration: &Registration, waiting: &mut Vec<UnixStream>) -> bool {
    let mut stop = false;
    while let Ok((stream, _)) = registration.listener.accept() {
        match hear(&stream) {
            Ok(Ask::Status) => tell(&stream, &Description::of(server)),
            Ok(Ask::Detach) => {
                stop = true;
                waiting.push(stream);
            }
            Err(error) => tracing::debug!("somebody who asked nothing: {error}"),
        }
    }
    stop
}

fn tell<T: serde::Serialize>(stream: &UnixStream, what: &T) {
    if let Err(error) = answer(stream, what) {
        tracing::debug!("somebody who does not listen: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_first_place() {
        let name = |text: &str| default_name(&[text.parse().unwrap()]).map(|name| name.to_string());
        assert_eq!(name("unix:/run/disk-1.sock").unwrap(), "disk-1");
        assert_eq!(name("tcp:127.0.0.2:10809").unwrap(), "tcp-10809");
        assert!(matches!(name("unix:/run/a disk"), Err(AttachError::Name(_))));
    }
}
