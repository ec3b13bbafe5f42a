//! `farebox healthcheck`: one `GET /healthz` on the admin address; the exit code is the answer.

use super::fault;
use crate::config::{self, Surroundings};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A status line is a few bytes; nothing longer is read.
const ANSWER_BYTES_MAX: u64 = 256;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// The admin address; by default the configured one.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<SocketAddr>,
    /// The configuration to take the address from.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask `/readyz`: also whether new calls are admitted.
    #[arg(long)]
    ready: bool,
    /// Give up after this many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
}

pub fn run(arguments: &Arguments) -> ExitCode {
    let address = match arguments.address {
        Some(address) => address,
        None => match config::load(arguments.config.clone(), &Surroundings::of_this_process()) {
            Ok(settings) => settings.admin_listen,
            Err(faults) => return fault(faults),
        },
    };
    let path = if arguments.ready { "/readyz" } else { "/healthz" };
    match ask(reachable(address), path, Duration::from_secs(arguments.timeout)) {
        Ok(200) => ExitCode::SUCCESS,
        Ok(status) => fault(format!("http://{address}{path} answered {status}")),
        Err(error) => fault(format!("http://{address}{path}: {error}; is `farebox serve` running?")),
    }
}

/// A node that listens on every address is asked on the loopback.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn ask(address: SocketAddr, path: &str, timeout: Duration) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    status_of(&answer).ok_or_else(|| std::io::Error::other("that is not an HTTP answer"))
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(answer.split(|byte| *byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next()?.strip_prefix("HTTP/1.")?;
    words.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_node_on_every_address_is_asked_on_the_loopback() {
        let asked = |listen: &str| reachable(listen.parse().unwrap()).to_string();
        assert_eq!(asked("0.0.0.0:4001"), "127.0.0.1:4001");
        assert_eq!(asked("[::]:4001"), "[::1]:4001");
        assert_eq!(asked("10.1.2.3:4001"), "10.1.2.3:4001");
    }

    #[test]
    fn the_status_is_read_from_a_real_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0u8; 512];
            let length = stream.read(&mut head).unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        assert_eq!(ask(address, "/readyz", Duration::from_secs(5)).unwrap(), 503);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
    }

    #[test]
    fn what_is_not_http_is_an_error() {
        assert_eq!(status_of(b"SSH-2.0-OpenSSH_9.2\r\n"), None);
        assert_eq!(status_of(b""), None);
    }
}
