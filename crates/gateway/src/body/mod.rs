//! Request bodies: collected up to a limit, read for what decides where they go, and sent on as the bytes they came as.

mod collect;
mod envelope;
mod pieces;

pub(crate) use collect::{CollectError, collect};
pub(crate) use envelope::{Envelope, NotAnObject};
pub(crate) use pieces::Pieces;
