//! A request and a reply on one TCP connection: the shape of a 4 KiB read.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::ping_pong::{LOOKS_MAX, ask, is_there};
use super::{FloorOptions, PingPong, REPLY_BYTES, REQUEST_BYTES, beside, joined, pin};

/// Bare TCP without delay, [`REQUEST_BYTES`] there and [`REPLY_BYTES`] back, both sides spinning.
pub fn tcp_ping_pong(options: &FloorOptions) -> io::Result<PingPong> {
    let listener = TcpListener::bind((options.address, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let echo = beside(scope, || {
            let (mut request, reply) = ([0; REQUEST_BYTES], [7; REPLY_BYTES]);
            while read_whole(&mut server, &mut request, || stop.load(Ordering::Relaxed))? {
                write_whole(&mut server, &reply)?;
            }
            Ok(())
        });
        pin(0);
        let mut looks = 0;
        let rounds = ask(options, |request, reply| {
            write_whole(&mut client, request)?;
            looks = 0;
            let gives_up = || {
                looks += 1;
                looks > LOOKS_MAX
            };
            if read_whole(&mut client, reply, gives_up)? { Ok(()) } else { Err(ErrorKind::TimedOut.into()) }
        });
        stop.store(true, Ordering::Relaxed);
        joined(echo)?;
        rounds
    })
}

/// Reads until it is full; `false` if it is time to give up.
fn read_whole(from: &mut TcpStream, into: &mut [u8], mut gives_up: impl FnMut() -> bool) -> io::Result<bool> {
    let mut done = 0;
    while done < into.len() {
        match from.read(&mut into[done..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => done += bytes,
            other => {
                is_there(other)?;
                if gives_up() {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

fn write_whole(to: &mut TcpStream, from: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < from.len() {
        match to.write(&from[done..]) {
            Ok(bytes) => done += bytes,
            other => drop(is_there(other)?),
        }
    }
    Ok(())
}
