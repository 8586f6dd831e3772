//! The engine through HTTP, with real llama.cpp and the demo model.

mod cancel;
mod chat;
mod completions;
mod errors;
mod probes;
mod sampling;
mod streams;
mod support;
mod tokens;
