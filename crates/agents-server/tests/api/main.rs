//! The agents server, tested through HTTP.
#![expect(clippy::unwrap_used, reason = "helpers of tests; clippy knows only the tests themselves")]

mod archives;
mod bundles;
mod changes;
mod files;
mod large;
mod openapi;
mod paths;
mod shipped;
mod skills;
mod support;
