//! Request bodies: collected up to a limit, read for their `model` alone, and sent on as the bytes they came as.

mod collect;
mod model;
mod pieces;

pub(crate) use collect::{CollectError, collect};
pub(crate) use model::{ModelField, NotAnObject};
pub(crate) use pieces::Pieces;
