//! The machine: the disk of the data directory, and how many files may be open.

use super::{Finding, Visit};
use crate::ledger::volume::Volume;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const GIB: u64 = 1 << 30;
/// Below this a busy node has a day or less.
const FREE_BYTES_WISHED: u64 = GIB;
/// A stream holds two sockets.
const OPEN_FILES_WISHED: u64 = 8_192;
const FREE_FILES_WISHED: u64 = 1_000;

pub fn findings(visit: &Visit<'_>) -> Vec<Finding> {
    let dir = &visit.settings.data_dir;
    let mut findings = vec![open_files()];
    let Some(there) = dir.ancestors().map(or_here).find(|path| path.is_dir()) else {
        findings.push(Finding::fault("disk", format!("{} is nowhere", dir.display()), "choose another `data_dir`"));
        return findings;
    };
    match Volume::of(there) {
        Ok(volume) => findings.extend(disk(visit, dir, there, &volume)),
        Err(error) => findings.push(Finding::fault(
            "disk",
            format!("{} cannot be looked at: {error}", there.display()),
            "give whoever runs Farebox access to it",
        )),
    }
    findings
}

/// A path of one name is in the working directory.
fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn disk(visit: &Visit<'_>, dir: &Path, there: &Path, volume: &Volume) -> Vec<Finding> {
    let mut findings = Vec::new();
    let shown = dir.display();
    if let Some(kind) = volume.network {
        let said = format!("{shown} is on {kind}, where locks and syncs cannot be trusted: Farebox will not start");
        findings.push(Finding::fault("disk", said, "put `data_dir` on a local disk"));
    }
    if !volume.writable {
        let said = format!("{} cannot be written by this user", there.display());
        findings.push(Finding::fault(
            "disk",
            said,
            "give it to the user that runs Farebox, or run doctor as that user",
        ));
    }
    let open = dir.is_dir() && std::fs::metadata(dir).is_ok_and(|about| about.permissions().mode() & 0o077 != 0);
    if open {
        let said = format!("{shown} can be entered by other users; names of callers are in it");
        findings.push(Finding::warning("disk", said, format!("chmod 700 {shown}")));
    }
    // Room for a record and its settlement is made beforehand, a segment at a time.
    let needed = visit.settings.ledger.segment_bytes.saturating_mul(2);
    let free = volume.free_bytes;
    let left = format!("{} of {} free at {shown}", size(free), size(volume.total_bytes));
    let no_more_files = volume.free_files.is_some_and(|files| files < FREE_FILES_WISHED);
    findings.push(if free < needed {
        let said = format!("{left}: the journal needs {} to begin a segment and one more", size(needed));
        Finding::fault("disk", said, "make room; calls are refused when the journal cannot grow")
    } else if free < FREE_BYTES_WISHED || no_more_files {
        let said = if no_more_files { format!("{left}, but hardly a file can be made") } else { left };
        Finding::warning("disk", said, "make room, or let go of old events (`farebox retain`)")
    } else {
        Finding::well("disk", left)
    });
    findings
}

/// Farebox raises its soft limit to the hard one.
pub fn open_files() -> Finding {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call only writes the struct that it is given.
    #[expect(unsafe_code, reason = "the standard library has no call for it")]
    let told = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 };
    #[expect(clippy::unnecessary_cast, reason = "not everywhere 64 bits")]
    let most = limit.rlim_max as u64;
    match (told, most) {
        (false, _) => Finding::warning("open files", "the limit cannot be read", "look at `ulimit -Hn`"),
        (true, most) if most < OPEN_FILES_WISHED => Finding::warning(
            "open files",
            format!("at most {most}: enough for about {} streams at once", most / 2),
            "raise the hard limit (`LimitNOFILE=65536` of a systemd unit, `--ulimit nofile=65536` of a container)",
        ),
        (true, most) if most >= 1 << 40 => Finding::well("open files", "no limit"),
        (true, most) => Finding::well("open files", format!("up to {most}")),
    }
}

/// `1.5 GiB`
fn size(bytes: u64) -> String {
    let units = [(GIB << 10, "TiB"), (GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!(
            [0, 1_023, 1_536, GIB_AND_A_HALF, 3 << 40].map(size),
            ["0 B", "1023 B", "1.5 KiB", "1.5 GiB", "3.0 TiB"]
        );
    }

    const GIB_AND_A_HALF: u64 = 3 << 29;
}
