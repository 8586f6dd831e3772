//! The gateway, tested through HTTP with fake engines behind it.

mod engines;
mod forwarding;
mod models;
mod openapi;
mod refusals;
mod registry;
mod streaming;
mod support;
