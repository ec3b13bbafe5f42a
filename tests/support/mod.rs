//! What the tests speak in.

pub mod asking;
pub mod collector;
pub mod crooked;
pub mod egress;
pub mod shop;
pub mod tls;
pub mod unending;
pub mod wire;

pub use asking::{Answered, Asking, asking};
pub use shop::{Shop, chat, shop, with};

use farebox::simulator::{Running, SimulatorSettings, start};

/// A simulated provider that keeps the bodies that it was sent.
pub async fn simulator() -> Running {
    start(SimulatorSettings { keep_bodies: true, ..SimulatorSettings::default() }).await.unwrap()
}
