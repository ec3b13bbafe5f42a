//! A journal's segment: what a disk may hold after anything.

use super::Input;
use farebox::ledger::segments::{read, sealed};

const SEGMENT: u64 = 3;

/// Any bytes are read to an end, as records, a hole or another format; and behind whole records nothing is made up.
pub fn segment(bytes: &[u8]) {
    let Some(input) = Input::of(bytes) else { return };
    let file = tempfile::NamedTempFile::new().expect("a file");
    if input.variant % 2 == 0 {
        std::fs::write(file.path(), input.rest).expect("written");
        let _ = read(file.path(), 1, SEGMENT);
        return;
    }
    // Records with a true checksum, their payloads any bytes: kind, length, payload.
    let (mut rest, mut records) = (input.rest, Vec::new());
    while let [kind, length, behind @ ..] = rest {
        let (payload, after) = behind.split_at(usize::from(*length).min(behind.len()));
        if !payload.is_empty() {
            records.push((1 + kind % 15, payload));
        }
        rest = after;
    }
    let mut written = sealed(&records, 1, SEGMENT);
    let whole = written.len();
    written.resize(whole + 64, 0);
    std::fs::write(file.path(), &written).expect("written");
    let found = read(file.path(), 1, SEGMENT);
    if let Ok(found) = found {
        assert!(!found.power_loss, "records in a row have no hole");
        // The torn tail is lost, and nothing before it.
        let torn = whole.saturating_sub(1 + usize::from(input.cut));
        written[torn..].fill(0);
        std::fs::write(file.path(), &written).expect("written");
        let less = read(file.path(), 1, SEGMENT).expect("fewer of the same records");
        assert!(less.records <= found.records, "{less:?} of {found:?}");
    }
}
