//! The service through HTTP, with fake engines and with real processes.
#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy knows only the tests themselves")]

#[path = "../support/mod.rs"]
mod support;

mod adopted;
mod manager;
mod openapi;
mod supervised;
