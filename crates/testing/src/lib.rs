//! Fakes and helpers for the tests of every crate.
//!
//! A fake stands in for what a test cannot have: an engine with a model, a hub, a tailnet. It speaks the real protocol
//! over a real socket, misbehaves on demand, and tells what it saw. What can be had is used for real instead.

pub mod fake_engine;
pub mod fake_tailscaled;
pub mod openapi;
mod server;
mod wait;

pub use fake_engine::FakeEngine;
pub use fake_tailscaled::FakeTailscaled;
pub use wait::{wait_for, wait_until};

/// A TCP port on 127.0.0.1 that was free a moment ago, for processes that must be told their port.
pub fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    socket.local_addr().expect("a bound socket has an address").port()
}
