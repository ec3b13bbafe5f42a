//! What is loaded before the C library, so that a machine seems to do what it seldom does.

use std::path::PathBuf;
use tempfile::TempDir;

/// A shared library, made by `cc`, which building farebox needs anyway.
pub fn compiled(source: &str, into: &TempDir) -> PathBuf {
    let (text, shim) = (into.path().join("shim.c"), into.path().join("shim.so"));
    std::fs::write(&text, source).unwrap();
    let mut command = std::process::Command::new("cc");
    let compiled = command.args(["-shared", "-fPIC", "-O1", "-o"]).args([&shim, &text]).output().expect("cc");
    assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
    shim
}
