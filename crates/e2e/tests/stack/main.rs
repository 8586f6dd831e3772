//! `remora up` as a user runs it, with the real engine and the demo model.

mod commands;
mod engine_dies;
mod first_minute;
mod fresh_clone;
mod openai_sdk;
mod stop;
mod streams;
mod vllm;
