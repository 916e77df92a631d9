//! A TCP stream one way.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use block::MonotonicClock;

use super::{FloorOptions, beside, gigabytes_a_second, joined, pin};

/// Bytes of one write, and of the reader's buffer.
pub const TCP_WRITE_BYTES: usize = 64 * 1024;

/// Bare TCP with blocking writes and reads of [`TCP_WRITE_BYTES`]: 10^9 bytes a second.
pub fn tcp_stream(options: &FloorOptions) -> io::Result<f64> {
    let listener = TcpListener::bind((options.address, 0))?;
    let mut writer = TcpStream::connect(listener.local_addr()?)?;
    let (reader, _) = listener.accept()?;
    thread::scope(|scope| {
        let sink = beside(scope, || drain(reader));
        pin(0);
        let buffer = vec![5; TCP_WRITE_BYTES];
        let clock = MonotonicClock::start();
        let begin = clock.now();
        while u128::from(clock.now().ns_since(begin)) < options.run_time.as_nanos() {
            writer.write_all(&buffer)?;
        }
        drop(writer);
        let bytes = joined(sink)?;
        Ok(gigabytes_a_second(bytes, clock.now().ns_since(begin)))
    })
}

/// Reads to the end; gives how many bytes there were.
fn drain(mut reader: TcpStream) -> io::Result<u64> {
    let (mut buffer, mut total) = (vec![0; TCP_WRITE_BYTES], 0);
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(total),
            bytes => total += bytes as u64,
        }
    }
}
