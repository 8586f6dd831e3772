//! Who may call what, asked from outside: the built programs, a fake tailscaled, real connections.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may say so by panicking, also in its helpers")]

mod browsers;
mod fuzz;
mod keys;
mod matrix;
mod network;
mod outage;
mod processes;
mod routes;
mod serve;
mod stack;
mod tailnet;
mod token;
mod tokens;
mod userspace;
mod wire;
