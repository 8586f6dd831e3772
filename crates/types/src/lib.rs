//! Names, ids and wire types of Remora's own services.
//!
//! Everything here is plain data: no I/O, no runtime. A name is a type that checks itself once, in [`FromStr`], and
//! `Deserialize` goes through it, so that no service handles a name it has not validated. Other systems' dialects
//! (`OpenAI`, Anthropic) live in `remora-protocol`.
//!
//! [`FromStr`]: std::str::FromStr

pub mod agents;
pub mod engines;
pub mod error;
pub mod gateway;
pub mod identity;
mod name;
pub mod status;

pub use name::{AgentName, EngineId, InvalidName, KeyName, ModelId, path_segment};
