//! The gateway, tested through HTTP with fake engines behind it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests panic as tests do")]

mod engines;
mod forwarding;
mod hold;
mod keys;
mod messages;
mod models;
mod openapi;
mod refusals;
mod registry;
mod streaming;
mod support;
mod traces;
