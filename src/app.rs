//! The composition root: alone sees everything, and knows the order of start and stop.

pub use crate::config::Settings;

/// Why the process ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// What broke, where, and how to mend it.
    #[error("{0}")]
    Fault(String),
    /// The ledger could not be written: the node stopped admitting and ends, so that its supervisor starts another.
    #[error("{0}")]
    Fenced(String),
}

/// Runs until asked to stop.
pub fn serve(_settings: Settings) -> Result<(), Failure> {
    Err(Failure::Fault("`serve` is not wired yet".to_owned()))
}
