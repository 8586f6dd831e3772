//! How a command fails: a message, its causes, a hint, and an exit code that scripts can tell apart.

use std::fmt::Write as _;
use std::process::ExitCode;

use http::StatusCode;
use remora_api_client::{ClientError, InvalidServer};
use serde_json::json;
use thiserror::Error;

use crate::output;

/// What went wrong, for scripts. 2 is also what wrong usage gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Anything without a code of its own.
    Failure = 1,
    /// Wrong usage.
    Usage = 2,
    /// What was asked for does not exist.
    NotFound = 3,
    /// Not allowed.
    Auth = 4,
    /// Nothing runs, or nothing answers.
    NotRunning = 5,
    /// No answer in time.
    Timeout = 6,
    /// Something is not what it should be.
    Verification = 7,
}

/// A failure with a code and, where there is one, what to do next.
#[derive(Debug, Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A failure that the command's own output has told; what is left is its code.
#[derive(Debug, Error)]
#[error("failed")]
pub(crate) struct Told(pub(crate) Exit);

/// Prints a failure to stderr (as JSON to stdout where JSON was asked for) and gives its exit code.
pub(crate) fn report(error: &anyhow::Error, json: bool) -> ExitCode {
    if let Some(Told(exit)) = error.downcast_ref() {
        return ExitCode::from(*exit as u8);
    }
    let (exit, hint) = classify(error);
    let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
    if json {
        let body =
            json!({"error": {"message": error.to_string(), "causes": causes, "hint": hint, "exit_code": exit as u8}});
        output::line(&body.to_string());
    } else {
        let mut text = format!("error: {error}");
        for cause in &causes {
            let _ = write!(text, "\ncause: {cause}");
        }
        if let Some(hint) = &hint {
            let _ = write!(text, "\nhint:  {hint}");
        }
        output::note(&text);
    }
    ExitCode::from(exit as u8)
}

/// Finds the first cause that knows its code.
pub(crate) fn classify(error: &anyhow::Error) -> (Exit, Option<String>) {
    for cause in error.chain() {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return (failure.exit, failure.hint.clone());
        }
        if let Some(client) = cause.downcast_ref::<ClientError>() {
            return classify_client(client);
        }
        if cause.is::<InvalidServer>() {
            return (Exit::Usage, None);
        }
    }
    (Exit::Failure, None)
}

fn classify_client(error: &ClientError) -> (Exit, Option<String>) {
    match error {
        ClientError::Unreachable { .. } => {
            (Exit::NotRunning, Some("is it running? `remora status` shows what is, `remora up` starts it".into()))
        }
        ClientError::Timeout { .. } => (Exit::Timeout, None),
        ClientError::Refused { status, .. } => match *status {
            StatusCode::NOT_FOUND => (Exit::NotFound, None),
            StatusCode::UNAUTHORIZED => {
                let hint = "set REMORA_KEY to a key, or name a file that holds one with --key-file; an administrator \
                            makes one with `remora key create`";
                (Exit::Auth, Some(hint.into()))
            }
            StatusCode::FORBIDDEN => {
                let hint = "`remora whoami` says what you may do there and why; an administrator can give you a role, \
                            or a key";
                (Exit::Auth, Some(hint.into()))
            }
            _ => (Exit::Failure, None),
        },
        ClientError::Unexpected { .. } | ClientError::Broken { .. } => (Exit::Failure, None),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_code_is_found_under_the_context_around_it() {
        let failure = Failure::new(Exit::NotFound, "no such agent").hint("look at `remora agent list`");
        let error = Err::<(), _>(failure).context("cannot show it").unwrap_err();
        assert_eq!(classify(&error), (Exit::NotFound, Some("look at `remora agent list`".into())));
        assert_eq!(classify(&anyhow::anyhow!("plain")).0, Exit::Failure);
    }
}
