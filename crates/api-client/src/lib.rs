//! Typed client of every Remora service, and of an engine.
//!
//! The one shared client: services call each other through it, the CLI calls them through it. One module per service;
//! each is a thin list of calls on [`Client`], which knows addresses (TCP and Unix sockets), errors and event streams.
//!
//! Requests on the gateway's hot path do not go through here: they are forwarded byte for byte.

pub mod agents;
mod client;
pub mod control;
pub mod engine;
pub mod engines;
pub mod gateway;
pub mod identity;
pub mod status;
mod usage;

pub use client::{Client, ClientError, InvalidServer};
