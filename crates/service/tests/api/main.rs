//! The base, tested through HTTP as every service has it.

#![expect(clippy::unwrap_used, reason = "the helpers of tests panic as tests do")]

mod browsers;
mod builtin;
mod errors;
mod identity;
mod serve;
mod stop;
mod support;
