//! The embedded engine: llama.cpp behind vLLM's HTTP API.
//!
//! An engine is an address that speaks vLLM's API; this one does so on purpose, so that nothing else asks which program
//! it talks to. It runs as a process of its own (`remora engine`), since llama.cpp aborts on faults that no caller can
//! catch, and such an abort must not take the gateway down.
//!
//! Inside, a request is read and checked ([`request`]), made a prompt by the model's own chat template ([`template`]),
//! and queued for the one thread that owns the model's memory ([`scheduler`]). That thread works in steps over a fixed
//! number of slots; every step computes a token for each answer and a part of the waiting prompts ([`llama`]), chooses
//! the next tokens ([`sampling`]) and sends them to the handlers ([`api`]), which tell them in `OpenAI`'s shapes.
//!
//! Rejected: llama.cpp's own server as a child (its API differs from vLLM's in a hundred small ways, and adapters
//! cannot be loaded at run time), and one context per request (the weights would be read once per token and request).
//!
//! What is not here yet is refused with a clear 400: `n` over 1, structured output, forced tool choice, echo.

mod api;
mod config;
pub mod demo_model;
mod llama;
mod metrics;
mod request;
mod run;
mod sampling;
mod scheduler;
mod template;

pub use config::{ENVIRONMENT, EngineArgs, EngineConfig};
pub use run::{EngineError, run, service};
