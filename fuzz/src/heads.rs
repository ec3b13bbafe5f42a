//! A provider's answer as it comes off the wire.

use super::{Input, pieces};
use farebox::proxy::incoming::Incoming;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

/// No input is longer than what the pipe takes at once.
const WIRE_BYTES_MAX: usize = 1 << 16;

/// Status, headers, body and how it ended are the same in any pieces.
pub fn response(bytes: &[u8]) {
    let Some(input) = Input::of(bytes).filter(|input| input.rest.len() <= WIRE_BYTES_MAX) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let whole = runtime.block_on(read(&mut std::iter::once(input.rest)));
    let many = runtime.block_on(read(&mut pieces(input.rest, input.cut)));
    assert_eq!(whole, many);
    assert!(whole.1.len() <= input.rest.len());
}

async fn read(wire: &mut dyn Iterator<Item = &[u8]>) -> (String, Vec<u8>, String) {
    let (near, mut far) = tokio::io::duplex(WIRE_BYTES_MAX);
    let mut incoming = Incoming::on(Box::new(near), true);
    let mut body = Vec::new();
    let mut head = None;
    let ended = {
        let reading = async {
            head = Some(incoming.head(Duration::from_secs(60)).await?);
            while let Some(piece) = incoming.piece().await? {
                assert!(!piece.is_empty());
                body.extend_from_slice(&piece);
            }
            Ok(())
        };
        let writing = async {
            for piece in wire {
                // It may have had enough.
                let _ = far.write_all(piece).await;
                tokio::task::yield_now().await;
            }
            drop(far);
        };
        let (ended, ()): (Result<(), farebox::proxy::incoming::Fault>, ()) = tokio::join!(reading, writing);
        ended
    };
    let head = head.map(|head| format!("{:?} {:?} {:?}", head.status, head.version, head.headers));
    (head.unwrap_or_default(), body, ended.map_or_else(|fault| fault.outward(), |()| "at its end".to_owned()))
}
