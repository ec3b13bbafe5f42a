//! The commands people type.
