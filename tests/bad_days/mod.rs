//! Bad days: clients that leave or misbehave, providers that fail, a node that stops. Nothing is lost, and nobody waits
//! for ever.

mod clients;
mod kept;
mod node;
mod providers;
