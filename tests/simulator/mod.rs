//! The simulator by itself: what it is there to prove rests on it.

mod anthropic;
mod gemini;
mod openai;
mod responses;
mod wishes;
