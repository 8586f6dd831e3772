//! The embedded engine against the programs that it must agree with: vLLM in its API, transformers in what it computes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may say so by panicking, also in its helpers")]

mod equality;
mod parity;
mod process;
