//! One file per verb.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod credential;
pub(crate) mod ctl;
pub(crate) mod engine;
pub(crate) mod key;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod up;
pub(crate) mod usage;
pub(crate) mod whoami;
