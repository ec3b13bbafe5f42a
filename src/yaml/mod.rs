//! YAML as people write it, with the place of every part, and faults that show it: what the configuration, the catalog
//! and the rules are read with.

mod fault;
mod tree;
mod words;

pub use fault::{FAULTS_MAX, Fault, told};
pub use tree::{Entry, Node, Place, Value, parse};
pub use words::nearest;
