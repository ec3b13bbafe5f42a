//! The head of a request: it may be waited for as long as a connection may idle, and once its first bytes came it must be
//! whole within `request_timeout`.

use pingora_core::protocols::http::ServerSession;
use pingora_timeout::fast_timeout::fast_sleep;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

/// Goes with a connection from one request to the next: it is not new any more.
pub struct Kept;

/// Reads it; `None`: it took too long.
///
/// pingora bounds the wait for each read, not for the head. Of a kept connection we see the first bytes by being woken
/// without a whole head: from then on the time counts. A new connection was opened to say something: there it counts
/// from the beginning.
pub async fn read(session: &mut ServerSession, within: Duration) -> Option<pingora_error::Result<bool>> {
    let is_kept = session.take_connection_user_context().is_some();
    let mut reading = pin!(session.read_request());
    let mut deadline: Option<Pin<Box<dyn Future<Output = ()> + Send>>> = None;
    let mut woken = !is_kept;
    std::future::poll_fn(|context| {
        if let Poll::Ready(read) = reading.as_mut().poll(context) {
            return Poll::Ready(Some(read));
        }
        if woken {
            let deadline = deadline.get_or_insert_with(|| Box::pin(fast_sleep(within)));
            if deadline.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
        }
        woken = true;
        Poll::Pending
    })
    .await
}
