//! The simulator by itself: what it is there to prove rests on it.

mod openai;
mod wishes;
