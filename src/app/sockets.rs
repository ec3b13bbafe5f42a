//! The listening sockets: bound here, or taken over from the process that runs already.

use super::{Failure, Settings};
use pingora_core::server::Fds;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, IntoRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The admin socket's name among those that are handed over in an upgrade; the data socket's is its address.
const ADMIN_SOCKET: &str = "admin";

/// A person has typed the signal by then, or it is not coming.
const HANDED_OVER_WITHIN: Duration = Duration::from_secs(60);

/// What the kernel takes (`sun_path`, with its end).
const SOCKET_PATH_BYTES_MAX: usize = 103;

/// The sockets, bound here or taken over.
pub(super) struct Sockets {
    pub fds: Fds,
    pub data_address: SocketAddr,
    pub admin: std::io::Result<TcpListener>,
    pub admin_address: SocketAddr,
}

impl Sockets {
    pub fn open(settings: &Settings) -> Result<Sockets, Failure> {
        let mut fds = Fds::new();
        let key = settings.proxy.listen.to_string();
        if settings.upgrade {
            take_over(&mut fds, &upgrade_socket(&settings.data_dir))?;
        } else {
            fds.add(key.clone(), bind(settings.proxy.listen)?.into_raw_fd());
            fds.add(ADMIN_SOCKET.to_owned(), bind(settings.admin_listen)?.into_raw_fd());
        }
        let missing = || {
            Failure::Fault(
                "the running farebox listens on another address; its sockets cannot be taken over".to_owned(),
            )
        };
        let data = *fds.get(&key).ok_or_else(missing)?;
        let admin = *fds.get(ADMIN_SOCKET).ok_or_else(missing)?;
        Ok(Sockets { data_address: address_of(data)?, admin_address: address_of(admin)?, admin: listener(admin), fds })
    }
}

/// Waits for the sockets of the running farebox.
fn take_over(fds: &mut Fds, path: &Path) -> Result<(), Failure> {
    let path = path.to_string_lossy();
    if path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(Failure::Fault(format!(
            "{path} is too long for the name of a socket ({} of {SOCKET_PATH_BYTES_MAX} bytes): `--upgrade` needs a data directory of a shorter name",
            path.len()
        )));
    }
    tracing::info!(?HANDED_OVER_WITHIN, "waiting for the running farebox: send it SIGQUIT");
    let until = Instant::now() + HANDED_OVER_WITHIN;
    loop {
        // Waits for some seconds itself.
        match fds.get_from_sock(path.as_ref()) {
            Ok(_) => return Ok(()),
            Err(_) if Instant::now() < until => {}
            Err(error) => {
                return Err(Failure::Fault(format!(
                    "no sockets were handed over within {HANDED_OVER_WITHIN:?} ({error}): start with --upgrade, then send SIGQUIT to the running farebox"
                )));
            }
        }
    }
}

fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    let fault = |error: std::io::Error| {
        Failure::Fault(format!(
            "{address} cannot be listened on: {error}. Is another process there? Choose another `listen`."
        ))
    };
    let listener = TcpListener::bind(address).map_err(fault)?;
    listener.set_nonblocking(true).map_err(fault)?;
    Ok(listener)
}

/// A second handle on a socket that stays ours to hand over.
fn listener(fd: RawFd) -> std::io::Result<TcpListener> {
    // SAFETY: `fd` is open: it was bound or received a moment ago, and `Fds` never closes it.
    #[expect(unsafe_code, reason = "the only way from a raw descriptor to a listener")]
    let owned = std::mem::ManuallyDrop::new(unsafe { TcpListener::from_raw_fd(fd) });
    let copy = owned.try_clone()?;
    copy.set_nonblocking(true)?;
    Ok(copy)
}

fn address_of(fd: RawFd) -> Result<SocketAddr, Failure> {
    listener(fd)
        .and_then(|listener| listener.local_addr())
        .map_err(|error| Failure::Fault(format!("a socket has no address: {error}")))
}

pub(super) fn upgrade_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("upgrade.sock")
}
