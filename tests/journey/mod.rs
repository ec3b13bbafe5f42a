//! The journey of a request on ordinary days. Read `first_call` first.

mod backtest;
mod bytes;
mod choosing;
mod dialects;
mod doctor;
mod egress;
mod first_call;
mod keeping;
mod large;
mod late;
mod reconcile;
mod rules;
mod surface;
mod tls;
mod track;
