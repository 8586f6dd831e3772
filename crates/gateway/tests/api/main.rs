//! The gateway, tested through HTTP with fake engines behind it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests panic as tests do")]

mod crisis;
mod engine_faults;
mod engines;
mod fallback;
mod forwarding;
mod hold;
mod keys;
mod limits;
mod messages;
mod models;
mod models_settings;
mod openapi;
mod refusals;
mod registry;
mod routing;
mod streaming;
mod support;
mod traces;
