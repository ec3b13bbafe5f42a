//! Exact counts of text by tiktoken-rs.
