//! Others' dialects: the wire types of `OpenAI`'s API as vLLM speaks it, its error bodies and its event streams; those
//! of Anthropic's Messages API, and the translation between the two.
//!
//! Everything here is pure: no I/O, no clock, no randomness. The engine answers with these types, clients and tests
//! read them. Request types accept unknown fields, as the APIs they imitate do; `openai`'s response types carry
//! exactly the keys that vLLM 0.32 sends, in its order, nulls included, so that a client written against vLLM meets no surprise.

pub mod anthropic;
pub mod openai;
pub mod sse;
