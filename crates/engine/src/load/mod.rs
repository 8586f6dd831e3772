//! From a model file to an engine that can answer: does it fit, how is it divided, how many threads does it get.

mod available;
mod memory;
mod progress;
mod read_ahead;
mod threads;

pub(crate) use memory::{NotEnough, Plan, SMALL_MODEL_BYTES};
pub(crate) use progress::Progress;
pub(crate) use read_ahead::read_ahead;
pub(crate) use threads::{Threads, choose as choose_threads};

#[cfg(test)]
mod tests;
