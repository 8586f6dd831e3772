//! What browsers are kept from doing in their owner's name.
//!
//! A page from anywhere can make its visitor's browser send requests to this machine, where being local may be all the
//! credential there is. Two checks stop that, before anybody is identified: a request for a host name that is not ours
//! is refused (DNS rebinding), and so is one that a page of another origin sends. There are no cookies, so there is
//! nothing else to ride on.

use std::net::IpAddr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, HOST, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};

use crate::error::ApiError;

/// Set by browsers, never by pages.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Ends of names that no stranger can point at this machine: loopback by definition, Tailscale's own, and the one that is
/// set aside for private networks (Docker's `host.docker.internal` among them).
const OWN_SUFFIXES: [&str; 3] = [".localhost", ".ts.net", ".internal"];

/// Which names and origins are ours.
#[derive(Debug, Clone, Default)]
pub(crate) struct BrowserRules {
    hosts: Vec<String>,
    origins: Vec<HeaderValue>,
}

impl BrowserRules {
    pub(crate) fn new(hosts: &[String], origins: &[String]) -> Self {
        let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin.trim_end_matches('/')).ok());
        Self { hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(), origins: origins.collect() }
    }

    /// Refuses what only a hostile page would make a browser send.
    pub(crate) fn check<B>(&self, request: &Request<B>) -> Result<(), ApiError> {
        let headers = request.headers();
        // HTTP/1.0 clients and Unix sockets may leave it out; browsers do not.
        let host = headers.get(HOST).map(|host| host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()));
        if let Some(host) = &host
            && !host.as_ref().is_some_and(|host| self.is_own(host.host()))
        {
            let name = host.as_ref().map_or("what it asks for", Authority::host);
            let message = format!("{name} is not a name of this machine; if it is, add it to `hosts` in [identity]");
            return Err(ApiError::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", message));
        }
        let Some(origin) = headers.get(ORIGIN) else {
            return check_site(request);
        };
        let same = |host: &Authority| origin_authority(origin).is_some_and(|origin| origin == host.as_str());
        if self.allowed(headers).is_some() || host.flatten().as_ref().is_some_and(same) {
            return Ok(());
        }
        let message = "web pages of other origins may not call this; `allowed_origins` in [identity] lets one in";
        Err(ApiError::new(StatusCode::FORBIDDEN, "cross_origin", message))
    }

    /// The origin of a page that the settings let in.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        headers.get(ORIGIN).filter(|origin| self.origins.contains(origin)).cloned()
    }

    /// Whether the settings let this page in.
    pub(crate) fn is_allowed(&self, headers: &HeaderMap) -> bool {
        !self.origins.is_empty() && self.allowed(headers).is_some()
    }

    /// What an answer to such a page says; to any other it says nothing, and its browser keeps the answer from it.
    pub(crate) fn decorate(&self, asked: &HeaderMap, answer: &mut HeaderMap) {
        if let Some(origin) = self.allowed(asked) {
            answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
            answer.append(VARY, HeaderValue::from_static("origin"));
        }
    }

    /// The answer to a preflight request of an allowed page, which carries no credentials.
    pub(crate) fn preflight<B>(&self, request: &Request<B>) -> Option<HeaderMap> {
        let asks =
            request.method() == Method::OPTIONS && request.headers().contains_key("access-control-request-method");
        if !asks || self.allowed(request.headers()).is_none() {
            return None;
        }
        let mut headers = HeaderMap::new();
        self.decorate(request.headers(), &mut headers);
        let methods = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        // `authorization` is not covered by the star.
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("*, authorization"));
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        Some(headers)
    }

    fn is_own(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
        // A single word is a name of the local network or the tailnet: no stranger has one.
        let word = !host.is_empty() && !host.contains(['.', ':']);
        address || word || OWN_SUFFIXES.iter().any(|end| host.ends_with(end)) || self.hosts.contains(&host)
    }
}

/// A browser that sends no origin still says where a request comes from. Following a link is harmless.
fn check_site<B>(request: &Request<B>) -> Result<(), ApiError> {
    let is = |name: &HeaderName, value: &str| request.headers().get(name).is_some_and(|v| v == value);
    let foreign = is(&SEC_FETCH_SITE, "cross-site") || is(&SEC_FETCH_SITE, "same-site");
    let link = is(&SEC_FETCH_MODE, "navigate") && matches!(*request.method(), Method::GET | Method::HEAD);
    if foreign && !link {
        let message = "web pages of other sites may not load this";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "cross_origin", message));
    }
    Ok(())
}

/// The host and port of an origin.
fn origin_authority(origin: &HeaderValue) -> Option<&str> {
    let origin = origin.to_str().ok()?;
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(headers: &[(&str, &str)]) -> Result<(), String> {
        let rules = BrowserRules::new(&["my.example.com".into()], &["https://chat.example.com/".into()]);
        let mut request = Request::post("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        rules.check(&request.body(()).unwrap()).map_err(|error| error.code().to_owned())
    }

    #[test]
    fn our_own_names_pass_and_others_do_not() {
        for own in [
            "127.0.0.1:8000",
            "[::1]:8000",
            "100.64.0.1",
            "localhost",
            "localhost:8000",
            "remora-server:8001",
            "remora-server.tail1234.ts.net.",
            "host.docker.internal:8000",
            "MY.example.com",
            "a.localhost",
        ] {
            assert_eq!(verdict(&[("host", own)]), Ok(()), "{own}");
        }
        for foreign in
            ["evil.com", "127.0.0.1.evil.com", "ts.net.evil.com:8000", "evilts.net", "example.com", "", "a b"]
        {
            assert_eq!(verdict(&[("host", foreign)]), Err("unknown_host".into()), "{foreign}");
        }
        assert_eq!(verdict(&[]), Ok(()));
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let of = |origin| verdict(&[("host", "localhost:8000"), ("origin", origin)]);
        assert_eq!(of("http://localhost:8000"), Ok(()));
        assert_eq!(of("https://chat.example.com"), Ok(()));
        for foreign in ["http://localhost:3000", "https://evil.com", "null", "http://localhost:8000.evil.com", ""] {
            assert_eq!(of(foreign), Err("cross_origin".into()), "{foreign}");
        }
    }

    #[test]
    fn requests_that_browsers_call_foreign_are_refused_unless_they_follow_a_link() {
        let of = |site, mode| verdict(&[("host", "localhost"), ("sec-fetch-site", site), ("sec-fetch-mode", mode)]);
        assert_eq!(of("same-origin", "cors"), Ok(()));
        assert_eq!(of("none", "navigate"), Ok(()));
        assert_eq!(of("cross-site", "no-cors"), Err("cross_origin".into()));
        assert_eq!(of("same-site", "cors"), Err("cross_origin".into()));
        // A form that is posted from another site is a navigation too.
        assert_eq!(of("cross-site", "navigate"), Err("cross_origin".into()));
        let rules = BrowserRules::default();
        let link = Request::get("/").header("sec-fetch-site", "cross-site").header("sec-fetch-mode", "navigate");
        assert!(rules.check(&link.body(()).unwrap()).is_ok());
    }

    #[test]
    fn only_allowed_origins_are_told_that_they_are() {
        let rules = BrowserRules::new(&[], &["https://chat.example.com".into()]);
        let preflight = |origin: &str| {
            let request = Request::options("/x").header(ORIGIN, origin);
            rules.preflight(&request.header("access-control-request-method", "POST").body(()).unwrap())
        };
        assert_eq!(
            preflight("https://chat.example.com").unwrap()[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://chat.example.com"
        );
        assert!(preflight("https://evil.com").is_none());
    }
}
