//! The translation of Anthropic's API as a whole: requests, answers, streams.

mod answers;
mod cost;
mod hostile;
mod legality;
mod requests;
mod streams;
