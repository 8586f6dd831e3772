//! The base, tested through HTTP as every service has it.

mod builtin;
mod errors;
mod stop;
mod support;
