//! The house, tested from outside: the real binary as a child process, a simulated provider, and clients that do what
//! clients do. One test binary, so that it is linked once.

mod simulator;
mod support;
