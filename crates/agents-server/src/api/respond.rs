//! Conditional and partial answers (RFC 9110, sections 13 and 14) from a [`Resource`].

use std::io;
use std::ops::Range;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use remora_service::{ApiError, remora_body};

use crate::folder::{Body, Resource};

/// What is to be sent, decided without touching a byte of the body.
enum Plan {
    NotModified,
    PreconditionFailed,
    Whole,
    Part(Range<u64>),
    Unsatisfiable,
}

/// Answers a `GET` or `HEAD`. Fails only where the body is on disk and has changed since it was scanned.
pub(super) async fn respond(resource: &Resource, method: &Method, request: &HeaderMap) -> io::Result<Response> {
    let plan = plan(resource, method, request);
    let length = resource.body().len();
    let range = match &plan {
        Plan::NotModified => return Ok((StatusCode::NOT_MODIFIED, resource.not_modified().clone()).into_response()),
        Plan::PreconditionFailed => return Ok(precondition_failed()),
        Plan::Unsatisfiable => return Ok(unsatisfiable(length)),
        Plan::Whole => 0..length,
        Plan::Part(range) => range.clone(),
    };
    let body = if method == Method::HEAD { axum::body::Body::empty() } else { body(resource.body(), &range).await? };
    let mut response = Response::new(body);
    *response.headers_mut() = resource.headers().clone();
    if let Plan::Part(range) = plan {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let content_range = format!("bytes {}-{}/{length}", range.start, range.end - 1);
        let content_range = HeaderValue::try_from(content_range).expect("digits are a legal header value");
        response.headers_mut().insert(CONTENT_RANGE, content_range);
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(range.end - range.start));
    }
    Ok(response)
}

fn plan(resource: &Resource, method: &Method, request: &HeaderMap) -> Plan {
    if request.contains_key(IF_MATCH) && !lists(request.get_all(IF_MATCH), resource.tag(), Weak::Differs) {
        return Plan::PreconditionFailed;
    }
    if request.contains_key(IF_NONE_MATCH) && lists(request.get_all(IF_NONE_MATCH), resource.tag(), Weak::Counts) {
        return Plan::NotModified;
    }
    // A dated If-Range never matches: seconds are too coarse to tell two edits apart.
    let in_range = |value: &HeaderValue| lists([value], resource.tag(), Weak::Differs) && value != "*";
    if method != Method::GET || !request.get(IF_RANGE).is_none_or(in_range) {
        return Plan::Whole;
    }
    let mut ranges = request.get_all(RANGE).iter();
    match (ranges.next(), ranges.next()) {
        (Some(range), None) => part(range.as_bytes(), resource.body().len()),
        _ => Plan::Whole,
    }
}

/// Whether `W/"x"` is the same as `"x"`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    Counts,
    Differs,
}

/// Whether lists of entity tags contain this one, or are `*`. Our tags hold neither commas nor quotes.
fn lists<'v>(values: impl IntoIterator<Item = &'v HeaderValue>, tag: &str, weak: Weak) -> bool {
    let is_ours = |listed: &[u8]| {
        let listed = listed.trim_ascii();
        let strong = match listed.strip_prefix(b"W/") {
            Some(_) if weak == Weak::Differs => return false,
            Some(rest) => rest,
            None => listed,
        };
        let bare = strong.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        listed == b"*" || bare == Some(tag.as_bytes())
    };
    values.into_iter().any(|value| value.as_bytes().split(|b| *b == b',').any(is_ours))
}

/// One range of bytes. Several ranges, other units and what is malformed are ignored, as the RFC allows and asks.
fn part(header: &[u8], length: u64) -> Plan {
    let Some(spec) = std::str::from_utf8(header).ok().and_then(|text| {
        let (unit, spec) = text.split_once('=')?;
        unit.trim().eq_ignore_ascii_case("bytes").then_some(spec.trim())
    }) else {
        return Plan::Whole;
    };
    let Some((first, last)) = spec.split_once('-') else { return Plan::Whole };
    // Positions beyond any file are legal: they saturate.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", suffix) => match number(suffix) {
            None => Plan::Whole,
            Some(wanted) if wanted == 0 || length == 0 => Plan::Unsatisfiable,
            Some(wanted) => Plan::Part(length - wanted.min(length)..length),
        },
        (first, last) => match (number(first), if last.is_empty() { Some(u64::MAX) } else { number(last) }) {
            (Some(first), Some(last)) if first <= last => {
                if first < length {
                    Plan::Part(first..last.saturating_add(1).min(length))
                } else {
                    Plan::Unsatisfiable
                }
            }
            _ => Plan::Whole,
        },
    }
}

async fn body(body: &Body, range: &Range<u64>) -> io::Result<axum::body::Body> {
    match body {
        Body::Held(bytes) => {
            let inside = |at: u64| usize::try_from(at).expect("a held body's length is a usize");
            Ok(bytes.slice(inside(range.start)..inside(range.end)).into())
        }
        Body::OnDisk(on_disk) => Ok(axum::body::Body::from_stream(on_disk.read(range.start, range.end).await?)),
    }
}

fn precondition_failed() -> Response {
    let message = "it has changed: its ETag is none of those in If-Match; ask without it for the present one";
    ApiError::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", message).into_response()
}

/// Rendered here, not by the frame: the answer needs a header that says the length.
fn unsatisfiable(length: u64) -> Response {
    let message = format!("the range begins behind the last of its {length} bytes");
    let error = ApiError::new(StatusCode::RANGE_NOT_SATISFIABLE, "range_not_satisfiable", message);
    let mut response = remora_body(&error, "");
    let content_range = HeaderValue::try_from(format!("bytes */{length}")).expect("digits are a legal header value");
    response.headers_mut().insert(CONTENT_RANGE, content_range);
    response
}
