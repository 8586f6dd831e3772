//! What differs between kinds of supervised engines: how one is started, noticed to have ended, and stopped.
//!
//! Whether it is ready is not the driver's business: all engines are watched alike, at their address.

use std::time::Duration;

use futures::future::BoxFuture;
use remora_service::{BindError, BoxError};
use thiserror::Error;

/// Starts engines of one kind.
pub trait Driver: Send + Sync + 'static {
    /// Starts the engine once. Returns as soon as it runs, long before it is ready.
    fn start(&self) -> BoxFuture<'_, Result<Box<dyn Instance>, StartError>>;
}

/// One started engine. Dropping it ends the engine at once.
pub trait Instance: Send {
    /// The id of its process on this machine, where it has one.
    fn pid(&self) -> Option<u32>;

    /// Completes when the engine has ended by itself, with everything it left behind cleared away; says how, in words
    /// that complete the sentence "it …". May be dropped and called again.
    fn ended(&mut self) -> BoxFuture<'_, String>;

    /// Asks the engine to stop, and ends it by force after `grace`.
    fn stop(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()>;
}

/// An engine that could not be started. What it displays completes the sentence "it …".
#[derive(Debug, Error)]
pub enum StartError {
    /// Somebody else answers at its address already.
    #[error("could not start: {0}")]
    AddressTaken(BindError),
    /// Its program does not run.
    #[error("could not run {program}")]
    Program {
        /// The program, as configured.
        program: String,
        /// Why not.
        #[source]
        source: BoxError,
    },
}
