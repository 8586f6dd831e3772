//! How much an engine is given at a time, when it is left alone, and who goes first where there is no room.
//!
//! A request enters an engine's [`Gate`], which lets in as many as its limit says and none while its [`breaker`] is
//! open. Where no engine has room it waits in the one [`Queue`]; whoever leaves a gate lets the next one in.

mod breaker;
mod class;
mod config;
mod gate;
mod queue;

pub(crate) use breaker::Breaker;
pub(crate) use class::Priorities;
pub use class::{Class, PriorityRule};
pub use config::LimitsConfig;
pub(crate) use gate::{Admission, Gate};
pub(crate) use queue::{Queue, Waited};
