//! Adversaries: callers and providers that mean harm. Each ends in a bounded time and a bounded memory, with a clear
//! word where one can still be said, and hurts nobody else.

mod answers;
mod callers;
mod http2;
mod providers;

use crate::support::Shop;

/// What one of them may cost the node: far above what it holds when it is well treated, far below what was sent.
const MEMORY_BYTES_MAX: u64 = 256 << 20;

/// The node still serves others, and has not grown.
async fn is_unharmed(shop: &Shop) {
    assert_eq!(shop.chat("Hi").answered().await.status, 200);
    let peak = shop.memory_peak();
    assert!(peak < MEMORY_BYTES_MAX, "{} MiB were resident at one moment", peak >> 20);
    assert!(!shop.log().contains("panicked"), "{}", shop.log());
}
