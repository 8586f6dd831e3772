//! One file per verb.

pub(crate) mod agent;
pub(crate) mod completions;
pub(crate) mod ctl;
pub(crate) mod engine;
pub(crate) mod status;
pub(crate) mod up;
