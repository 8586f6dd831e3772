//! `remora up` as a user runs it, with the real engine and the demo model.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may say so by panicking, also in its helpers")]

mod commands;
mod connect;
mod engine_dies;
mod first_minute;
mod fresh_clone;
mod sdks;
mod stop;
mod storm;
mod streams;
mod vllm;
