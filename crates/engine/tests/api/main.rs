//! The engine through HTTP, with real llama.cpp and the demo model.

#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy knows only the tests themselves")]

mod adapters;
mod cancel;
mod chat;
mod completions;
mod embeddings;
mod errors;
mod forced;
mod openapi;
mod prefix;
mod probes;
mod responses;
mod sampling;
mod several;
mod streams;
mod structured;
mod support;
mod tokens;
mod tools;
