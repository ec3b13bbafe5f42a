//! Farebox: a self-hosted, OpenAI-compatible metering reverse proxy for LLM APIs.
//!
//! # The map
//!
//! A module uses only modules on lower floors; `tests/tidy.rs` reads the `use crate::` lines and fails on a circle or
//! an upward arrow.
//!
//! | floor | modules | what they are |
//! |---|---|---|
//! | 0 | [`ids`] [`money`] [`secret`] [`clock`] [`yaml`] | the units everything is said in; files with places |
//! | 1 | [`tokens`] | usage and its laws, request facts, counting, bounds |
//! | 2 | [`dialects`] [`catalog`] [`tenants`] | wire formats, models and rates, who is calling |
//! | 3 | [`meter`] [`budget`] | a response's bytes → a reading; the serial book of holds |
//! | 4 | [`rules`] | the decision about a request |
//! | 5 | [`event`] [`telemetry`] | the ledger's event; log lines and metrics |
//! | 6 | [`store`] | the only place that knows SQL |
//! | 7 | [`ledger`] | journal, admission, folding, recovery, verification |
//! | 8 | [`queries`] [`backtest`] [`alerts`] [`tracking`] [`reconcile`] | what the API and the command line ask of the ledger; the past under new rules; who is told; usage from outside; bills |
//! | 9 | [`proxy`] [`api`] [`simulator`] | the journey of a request; the admin port; a provider to try it on |
//! | 10 | [`config`] | the files people write |
//! | 11 | [`app`] | the composition root: puts every part in its place |
//! | top | [`cli`] | the commands people type |
//!
//! # Invariants
//!
//! *Invariant:* floors 0–4 know no tokio, pingora, SQL, HTTP, real clock or log: they take values and `now`, and return
//! values.
//! *Invariant:* only [`proxy`] and [`app`] know pingora; only [`store`] knows SQL; only [`app`] and [`cli`] know
//! [`config`].
//! *Invariant:* there is no global mutable state. Live snapshots are `arc-swap`ped whole and loaded once an exchange.
//!
//! # The journey
//!
//! `proxy/exchange.rs` is the product: arrive, read, offer, bound, decide, reserve, forward, observe, settle.

pub mod clock;
pub mod ids;
pub mod money;
pub mod secret;
pub mod yaml;

pub mod tokens;

pub mod catalog;
pub mod dialects;
pub mod tenants;

pub mod budget;
pub mod meter;

pub mod rules;

pub mod event;
pub mod telemetry;

pub mod store;

pub mod ledger;

pub mod alerts;
pub mod backtest;
pub mod queries;
pub mod reconcile;
pub mod tracking;

pub mod api;
pub mod proxy;
pub mod simulator;

pub mod cli;
pub mod config;

pub mod app;
