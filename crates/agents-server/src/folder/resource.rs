//! Something that can be sent, with every header made beforehand.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, LAST_MODIFIED,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;
use remora_types::agents::Sha256;
use serde::Serialize;

use super::disk::OnDisk;
use super::media_type;
use crate::bundle::sha256;

/// A body with its entity tag and its headers.
#[derive(Debug)]
pub struct Resource {
    /// The tag without its quotes.
    tag: String,
    body: Body,
    headers: HeaderMap,
    not_modified: HeaderMap,
}

/// A body's bytes, or where they are.
#[derive(Debug, Clone)]
pub enum Body {
    /// In memory.
    Held(Bytes),
    /// On disk.
    OnDisk(OnDisk),
}

impl Resource {
    /// A body under this tag, which must be plain ASCII without quotes.
    pub(super) fn new(tag: String, media_type: &'static str, modified: Option<Timestamp>, body: Body) -> Self {
        let etag = HeaderValue::try_from(format!("\"{tag}\"")).expect("tags are hexadecimal digits and punctuation");
        let mut not_modified = HeaderMap::with_capacity(3);
        not_modified.insert(ETAG, etag);
        not_modified.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let mut headers = not_modified.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if media_type::is_active(media_type) {
            // A page in a bundle is a document to read; its scripts have no business on this server's origin.
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
        }
        if let Some(date) = modified.and_then(http_date) {
            headers.insert(LAST_MODIFIED, date);
        }
        Self { tag, body, headers, not_modified }
    }

    /// A file, tagged with its SHA-256.
    pub(super) fn file(path: &str, sha256: &Sha256, modified: Timestamp, body: Body) -> Self {
        let held = match &body {
            Body::Held(bytes) => Some(bytes.as_ref()),
            Body::OnDisk(_) => None,
        };
        let media_type = media_type::of(path, held);
        Self::new(sha256.to_string(), media_type, Some(modified), body)
    }

    /// A JSON document, tagged with its SHA-256.
    pub(super) fn json(value: &impl Serialize) -> Self {
        let bytes = serde_json::to_vec(value).expect("wire types are plain data");
        Self::new(sha256(&bytes).to_string(), "application/json", None, Body::Held(bytes.into()))
    }

    /// The entity tag without its quotes.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// The bytes.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Headers of a whole answer.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Headers of a 304.
    pub fn not_modified(&self) -> &HeaderMap {
        &self.not_modified
    }
}

impl Body {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::Held(bytes) => bytes.len() as u64,
            Self::OnDisk(on_disk) => on_disk.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn http_date(time: Timestamp) -> Option<HeaderValue> {
    DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?.try_into().ok()
}
