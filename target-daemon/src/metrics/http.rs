//! Just enough of HTTP/1.1 for a scraper: one GET a connection, bounded in bytes, time and number.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use block::{MonotonicClock, Timestamp};
use thiserror::Error;
use tracing::{debug, warn};

/// Most scrapers at once.
const CLIENTS_MAX: usize = 8;

/// Longest head of a request.
const HEAD_BYTES_MAX: usize = 8192;

/// Most header fields of a request.
const FIELDS_MAX: usize = 64;

/// How long a scraper may take, for its request and for our answer each.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the text is.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why no metrics are served.
#[derive(Debug, Error)]
pub(crate) enum MetricsError {
    /// Not there.
    #[error("metrics cannot be served at {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

/// Makes the text; `None` when there is nothing to tell any more.
pub(super) type Make = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Serves from now on.
pub(super) fn serve(address: SocketAddr, make: Make) -> Result<SocketAddr, MetricsError> {
    let error = |source| MetricsError::Listen { address, source };
    let listener = TcpListener::bind(address).map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    let accept = move || accept_all(&listener, &make);
    thread::Builder::new().name("metrics".to_owned()).spawn(accept).map_err(error)?;
    Ok(bound)
}

fn accept_all(listener: &TcpListener, make: &Make) {
    let clients = Arc::new(AtomicUsize::new(0));
    let clock = MonotonicClock::start();
    loop {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, make, &clients, clock),
            Err(error) => {
                warn!("metrics: {error}");
                // Descriptors have run out, most likely: they come back when somebody else lets go of some.
                thread::park_timeout(Duration::from_millis(100));
            }
        }
    }
}

/// Too many at once are closed without a word: a scraper comes again.
fn admit(stream: TcpStream, make: &Make, clients: &Arc<AtomicUsize>, clock: MonotonicClock) {
    let leaving = Leaving(Arc::clone(clients));
    if clients.fetch_add(1, Ordering::AcqRel) >= CLIENTS_MAX {
        return;
    }
    let make = Arc::clone(make);
    let talk = move || {
        let _leaving = leaving;
        if let Err(error) = talk(stream, &make, clock) {
            debug!("a scraper: {error}");
        }
    };
    if let Err(error) = thread::Builder::new().name("scraper".to_owned()).spawn(talk) {
        warn!("metrics: no thread for a scraper: {error}");
    }
}

/// Counts a scraper out, also when its thread panics or never was.
struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn talk(mut stream: TcpStream, make: &Make, clock: MonotonicClock) -> io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    let head = read_head(&mut stream, clock, clock.now().after(PATIENCE))?;
    stream.write_all(&answer(&head, &**make))
}

/// Bytes up to the empty line, or as many as are read.
fn read_head(stream: &mut TcpStream, clock: MonotonicClock, until: Timestamp) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left_ns = until.ns_since(clock.now());
        if left_ns == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(Duration::from_nanos(left_ns)))?;
        match stream.read(&mut chunk)? {
            0 => break,
            bytes => head.extend_from_slice(&chunk[..bytes]),
        }
    }
    Ok(head)
}

fn answer(head: &[u8], make: &dyn Fn() -> Option<String>) -> Vec<u8> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return response("400 Bad Request", "", true),
    }
    let path = request.path.unwrap_or_default().split('?').next();
    match (request.method, path) {
        (Some("GET" | "HEAD"), Some("/metrics")) => match make() {
            Some(text) => response("200 OK", &text, request.method == Some("GET")),
            None => response("503 Service Unavailable", "", true),
        },
        (Some("GET" | "HEAD"), _) => response("404 Not Found", "metrics are at /metrics\n", true),
        _ => response("405 Method Not Allowed", "", true),
    }
}

fn response(status: &str, body: &str, with_body: bool) -> Vec<u8> {
    let kind = if status.starts_with("200") { CONTENT_TYPE } else { "text/plain; charset=utf-8" };
    let length = body.len();
    let mut response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    if with_body {
        response += body;
    }
    response.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(head: &str) -> String {
        String::from_utf8(answer(head.as_bytes(), &|| Some("x 1\n".to_owned()))).unwrap()
    }

    #[test]
    fn metrics_are_at_one_place() {
        let full = "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; \
                    charset=utf-8\r\nContent-Length: 4\r\nConnection: close\r\n\r\nx 1\n";
        assert_eq!(answered("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), full);
        assert_eq!(answered("GET /metrics?name=x HTTP/1.1\r\n\r\n"), full);
        assert_eq!(answered("HEAD /metrics HTTP/1.1\r\n\r\n"), full.replace("x 1\n", ""));
        assert!(answered("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
        assert!(answered("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405 "));
        for bad in ["", "GET", "GET /metrics HTTP/1.1\r\n", "\0\0\r\n\r\n", "GET /metrics FTP/1\r\n\r\n"] {
            assert!(answered(bad).starts_with("HTTP/1.1 400 "), "{bad:?}");
        }
        let ended = answer(b"GET /metrics HTTP/1.1\r\n\r\n", &|| None);
        assert!(ended.starts_with(b"HTTP/1.1 503 "));
    }

    #[test]
    fn scrapers_are_bounded_in_bytes_and_number() {
        let address = serve("127.0.0.1:0".parse().unwrap(), Arc::new(|| Some("x 1\n".to_owned()))).unwrap();
        let ask = |bytes: &[u8]| {
            let mut stream = TcpStream::connect(address).unwrap();
            // Who is refused may be reset before it has said all.
            let _ = stream.write_all(bytes);
            let mut said = Vec::new();
            let _ = stream.read_to_end(&mut said);
            String::from_utf8(said).unwrap()
        };
        assert!(ask(b"GET /metrics HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nx 1\n"));
        assert!(ask(&[b'a'; HEAD_BYTES_MAX]).starts_with("HTTP/1.1 400 "));
        let silent: Vec<TcpStream> = (0..CLIENTS_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
        assert_eq!(ask(b"GET /metrics HTTP/1.1\r\n\r\n"), "", "too many at once");
        drop(silent);
        let is_answered = || !ask(b"GET /metrics HTTP/1.1\r\n\r\n").is_empty();
        let pause = || thread::park_timeout(Duration::from_millis(10));
        assert!(
            (0..100).any(|_| is_answered() || (pause(), false).1),
            "and others again when they have gone"
        );
    }
}
