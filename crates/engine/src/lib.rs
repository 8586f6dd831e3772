//! llama.cpp behind vLLM's HTTP API (being laid).
#[doc(hidden)]
pub use llama_cpp_2 as _llama;
