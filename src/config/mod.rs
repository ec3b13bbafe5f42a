//! The files people write.
