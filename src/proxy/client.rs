//! The client's side of an exchange: his request's head and body, and the way back to him.
//!
//! Nearly every request is a plain one, which [`Plain`] reads and answers by itself. Whatever is out of the ordinary in a
//! head (HTTP/1.0, chunked bodies, upgrades, `expect`, anything doubtful) goes to pingora as it came, byte for byte; and
//! so does HTTP/2.

#[cfg(test)]
mod differential;
mod head;
mod marks;
mod plain;
mod session;

pub use head::Head;
pub use marks::Marks;
pub use plain::{Length, Next, Plain};
pub use session::{ByPingora, Session};
