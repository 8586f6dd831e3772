//! The service through HTTP, with fake engines and with real processes.

#[path = "../support/mod.rs"]
mod support;

mod adopted;
mod openapi;
mod supervised;
