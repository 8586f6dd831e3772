//! The embedded engine: llama.cpp behind vLLM's HTTP API.
//!
//! An engine is an address that speaks vLLM's API; this one does so on purpose, so that nothing else asks which program
//! it talks to. It runs as a process of its own (`remora engine`), since llama.cpp aborts on faults that no caller can
//! catch, and such an abort must not take the gateway down.
//!
//! Inside, a request is read and checked ([`request`]), made a prompt by the model's own chat template ([`template`]),
//! and queued for the one thread that owns the model's memory ([`scheduler`]). That thread works in steps over a fixed
//! number of slots; every step computes a token for each answer and a part of the waiting prompts ([`llama`]), chooses
//! the next tokens ([`sampling`]) and sends them to the handlers ([`api`]), which find thinking and calls in them
//! ([`output`]) and tell them in `OpenAI`'s shapes. Adapters are read and checked ([`adapter`]) before the
//! thread gets them.
//!
//! Rejected: llama.cpp's own server as a child (its API differs from vLLM's in a hundred small ways, and adapters
//! cannot be loaded at run time), and one context per request (the weights would be read once per token and request).
//!
//! # Where it differs from vLLM 0.32 on purpose
//!
//! - What it does not do yet is refused with a 400 that says so: `best_of` over 1, prompt log probabilities and so
//!   echo with log probabilities, log probabilities of responses.
//! - Forced calls are held to the schemas of their tools without `strict`, and in the format that the model was trained
//!   on where vLLM has no structural tag for it either; the client sees the same. `n` is at most 128. A request for more answers than may wait is a 400, since no waiting would help.
//! - A response that was cut off has an item that says `incomplete`, as `OpenAI`'s do; vLLM says `completed`. Custom
//!   tools are refused. Only the response's own thinking is counted, without its tags.
//! - `vllm:lora_requests_info` is one series, the present one.
//! - The format of calls and thinking is read off the chat template, where vLLM has to be told both; text after a call
//!   is kept; slips in arguments that have one meaning are put right. An answer that was cut off ends with `length`,
//!   whatever it called before. Its last call is the model's text in a whole answer, as in vLLM, and in a stream closed
//!   to valid JSON, where vLLM leaves it open.
//! - Thinking is told as `reasoning`, vLLM's name, and as `reasoning_content`, its older one. An answer held to a form is
//!   all content.
//! - Tools are given to the chat template as they were sent; vLLM puts their keys in its own order first.
//! - A content type is not asked for, 16 stop texts are taken (vLLM takes 4), a full queue is a 429 (vLLM: 503).
//! - Validation errors of the body's shape have vLLM's frame, class and place, but serde's words.
//! - A prompt over the context is counted exactly, where vLLM says "at least"; one that fills it to the last token is
//!   told that, where vLLM says that `max_tokens` must be at least 1.
//! - `top_logprobs` are the likeliest tokens, as `OpenAI` documents; vLLM puts the chosen one first.
//! - A tool's answer without a `name` gets that of the function whose call it answers: some templates print it.
//! - Control tokens in the text of messages are text: a tool's result cannot forge a turn.
//! - Adapters can be loaded without a switch, from PEFT folders and GGUF files; no path is a name on the internet. What
//!   vLLM answers with 500 and "Call to `add_lora` method failed" is a 400. A tensor that would be passed over is a
//!   fault. Everything is read at once and stays in memory: `--max-loras` bounds what is loaded, not a batch. Unloading
//!   answers when the memory is free. An adapter that is loaded again shares no cache with the one before.
//! - `cached_tokens` are told without a switch, where there are any.
//! - Unknown routes and methods are answered in the same dialect; `GET /v1/models/{id}` exists.

mod adapter;
mod api;
mod config;
mod constraint;
pub mod demo_model;
mod llama;
mod load;
mod metrics;
mod output;
mod request;
mod run;
mod sampling;
mod scheduler;
mod template;

pub use config::{ENVIRONMENT, EngineArgs, EngineConfig, GpuLayers};
pub use llama::KvType;
pub use output::ToolParser;
pub use run::{EngineError, run, service};
