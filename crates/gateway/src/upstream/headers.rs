//! Which headers cross the gateway.
//!
//! To an engine: a list of what may. Clients' keys, cookies and identities are nobody's business behind the gateway,
//! and a list of what may not would miss the next header that carries one. Back from it: everything but what belongs
//! to one connection, and what would reach into the client's relation with the gateway.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an engine may see of a client's headers; the trace context joins its spans to ours.
const PASSED: [HeaderName; 5] = [
    CONTENT_TYPE,
    ACCEPT,
    ACCEPT_ENCODING,
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// What an answer leaves behind: RFC 9110 7.6.1's connection headers, and cookies, which an engine could otherwise set
/// for every service on this host.
const DROPPED: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_AUTHENTICATE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, SET_COOKIE];

/// The headers of a request to an engine.
pub(super) fn for_engine(
    client: &HeaderMap,
    host: HeaderValue,
    request_id: HeaderValue,
    authorization: Option<HeaderValue>,
) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(http::header::HOST, host);
    for name in PASSED {
        if let Some(value) = client.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    // What vLLM insists on, and half of all hand-written curl lines forget.
    headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    headers.insert(REQUEST_ID, request_id);
    if let Some(authorization) = authorization {
        headers.insert(http::header::AUTHORIZATION, authorization);
    }
    headers
}

/// Takes from an answer's headers what must not go on to the client.
pub(crate) fn drop_hop_headers(headers: &mut HeaderMap) {
    if let Some(listed) = headers.get(CONNECTION).cloned() {
        let names = listed.to_str().unwrap_or_default().split(',');
        for name in names.filter_map(|name| name.trim().parse::<HeaderName>().ok()) {
            headers.remove(name);
        }
    }
    for name in DROPPED {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(&'static str, &'static str)]) -> HeaderMap {
        of.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn nothing_of_the_client_passes_unless_listed() {
        let client = headers(&[
            ("authorization", "Bearer client"),
            ("cookie", "a=b"),
            ("x-api-key", "k"),
            ("tailscale-user-login", "me@example.org"),
            ("x-forwarded-for", "100.64.0.1"),
            ("content-length", "3"),
            ("connection", "close"),
            ("accept", "text/event-stream"),
        ]);
        let key = HeaderValue::from_static("Bearer engine");
        let sent = for_engine(&client, HeaderValue::from_static("h"), HeaderValue::from_static("r"), Some(key));
        let expected = headers(&[
            ("host", "h"),
            ("accept", "text/event-stream"),
            ("content-type", "application/json"),
            ("x-request-id", "r"),
            ("authorization", "Bearer engine"),
        ]);
        assert_eq!(sent, expected);
    }

    #[test]
    fn connection_headers_and_cookies_stay_behind() {
        let mut answer = headers(&[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("transfer-encoding", "chunked"),
            ("keep-alive", "timeout=5"),
            ("set-cookie", "a=b"),
            ("content-type", "application/json"),
            ("x-custom", "2"),
        ]);
        drop_hop_headers(&mut answer);
        assert_eq!(answer, headers(&[("content-type", "application/json"), ("x-custom", "2")]));
    }
}
