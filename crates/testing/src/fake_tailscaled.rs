//! A tailnet without Tailscale: tailscaled's `LocalAPI` on a Unix socket.
//!
//! ```no_run
//! # async fn demo() {
//! use remora_testing::fake_tailscaled::{FakeTailscaled, Fault, Peer};
//! let mut tailnet = FakeTailscaled::start().await;
//! tailnet.add("127.0.0.2", Peer::user("bob@example.com"));
//! tailnet.add("127.0.0.1:40123", Peer::node(&["tag:ci"]));
//! tailnet.set_fault(Fault::Status(500));
//! assert_eq!(tailnet.whois_calls(), 0);
//! # }
//! ```
//!
//! Rules, shapes and status codes are those of `ipn/localapi/localapi.go`, `client/tailscale/apitype` and `tailcfg`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, ORIGIN, REFERER};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use remora_types::engines::EngineAddress;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::server;

/// The user who owns the node that tailscaled runs on.
pub const OWNER: &str = "owner@example.com";

/// The application capability that Remora reads from grants by default.
pub const CAPABILITY: &str = "remora.dev/cap/remora";

/// A running fake tailscaled. Dropping it ends it; its socket goes with its folder.
pub struct FakeTailscaled {
    folder: TempDir,
    shared: Arc<Shared>,
    server: JoinSet<()>,
}

/// How it misbehaves; [`FakeTailscaled::set_fault`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    /// It does not.
    #[default]
    None,
    /// Answers rightly after this time.
    Slow(Duration),
    /// Answers this status.
    Status(u16),
    /// Answers 200 with something that is no JSON.
    Garbage,
    /// Answers 200 with JSON of another shape.
    OtherShape,
    /// Answers 200 and breaks off in the middle of the body.
    HalfABody,
    /// Takes the connection and never answers.
    Silence,
}

/// A machine of the tailnet, as whois tells about it.
#[derive(Debug, Clone)]
pub struct Peer {
    node: String,
    /// The login; `None` for a tagged node.
    user: Option<String>,
    tags: Vec<String>,
    made_by: Option<u64>,
    shared_in: bool,
    capabilities: BTreeMap<String, Vec<Value>>,
}

impl Peer {
    /// A machine of this user.
    pub fn user(login: &str) -> Self {
        let name = login.split('@').next().unwrap_or(login);
        Self {
            node: format!("{name}-laptop"),
            user: Some(login.to_owned()),
            tags: Vec::new(),
            made_by: None,
            shared_in: false,
            capabilities: BTreeMap::new(),
        }
    }

    /// A machine that belongs to no person, with these tags.
    pub fn node(tags: &[&str]) -> Self {
        Self {
            node: "machine".into(),
            user: None,
            tags: tags.iter().map(ToString::to_string).collect(),
            ..Self::user("")
        }
    }

    /// Under another machine name.
    #[must_use]
    pub fn named(mut self, node: &str) -> Self {
        node.clone_into(&mut self.node);
        self
    }

    /// Tells this user's id in the profile of a tagged node, which is not the node's identity.
    #[must_use]
    pub fn made_by(mut self, user: u64) -> Self {
        self.made_by = Some(user);
        self
    }

    /// Shared into the tailnet by a user of another one.
    #[must_use]
    pub fn shared_in(mut self) -> Self {
        self.shared_in = true;
        self
    }

    /// With a grant of the tailnet's policy file: one more value under `capability`.
    #[must_use]
    pub fn grant(mut self, capability: &str, value: Value) -> Self {
        self.capabilities.entry(capability.to_owned()).or_default().push(value);
        self
    }
}

#[derive(Default)]
struct Shared {
    tailnet: Mutex<Tailnet>,
}

#[derive(Default)]
struct Tailnet {
    /// By IP address, as with a TUN device.
    machines: BTreeMap<IpAddr, Peer>,
    /// By the local end of a connection that is open, as tailscaled's proxy knows it in userspace mode.
    connections: BTreeMap<SocketAddr, Peer>,
    /// Logins; an id is one more than the place.
    users: Vec<String>,
    own_tags: Vec<String>,
    fault: Fault,
    asked: Vec<String>,
    status_calls: usize,
}

impl FakeTailscaled {
    /// Starts on a socket in a temporary folder. The node belongs to [`OWNER`]; nobody else is there.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let shared = Arc::new(Shared::default());
        shared.tailnet().users.push(OWNER.into());
        let mut fake = Self { folder, shared, server: JoinSet::new() };
        fake.start_again().await;
        fake
    }

    /// The socket's path; the same after a restart.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("tailscaled.sock")
    }

    /// Kills it: open connections break, further ones are refused. The socket's file stays behind.
    pub async fn stop(&mut self) {
        self.server.shutdown().await;
    }

    /// Starts it where it was, with all that it knew.
    pub async fn start_again(&mut self) {
        let address = EngineAddress::Unix(self.socket());
        let (_, serving) = server::serve(&address, router(self.shared.clone())).await;
        self.server.spawn(serving);
    }

    /// Puts a machine at `address`: an IP address, or `ip:port` for one connection in userspace mode. What was there
    /// is replaced.
    pub fn add(&self, address: &str, peer: Peer) {
        let mut tailnet = self.shared.tailnet();
        if let Some(user) = peer.user.as_ref().filter(|user| !tailnet.users.contains(user)) {
            let user = user.clone();
            tailnet.users.push(user);
        }
        match (address.parse::<IpAddr>(), address.parse::<SocketAddr>()) {
            (Ok(ip), _) => drop(tailnet.machines.insert(ip, peer)),
            (_, Ok(connection)) => drop(tailnet.connections.insert(connection, peer)),
            _ => panic!("{address} is neither ip nor ip:port"),
        }
    }

    /// Takes away what is at this address.
    pub fn remove(&self, address: &str) {
        let mut tailnet = self.shared.tailnet();
        tailnet.machines.retain(|ip, _| ip.to_string() != address);
        tailnet.connections.retain(|connection, _| connection.to_string() != address);
    }

    /// Gives this node tags, so that it has no owner.
    pub fn tag_itself(&self, tags: &[&str]) {
        self.shared.tailnet().own_tags = tags.iter().map(ToString::to_string).collect();
    }

    /// Misbehaves from the next request on.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.tailnet().fault = fault;
    }

    /// The id of a user who has a machine, or owns this one.
    pub fn user_id(&self, login: &str) -> u64 {
        self.shared.tailnet().user_id(login)
    }

    /// How often whois was asked, refused questions included.
    pub fn whois_calls(&self) -> usize {
        self.shared.tailnet().asked.len()
    }

    /// What whois was asked about, in order.
    pub fn asked(&self) -> Vec<String> {
        self.shared.tailnet().asked.clone()
    }

    /// How often the status was asked for.
    pub fn status_calls(&self) -> usize {
        self.shared.tailnet().status_calls
    }
}

impl Shared {
    fn tailnet(&self) -> MutexGuard<'_, Tailnet> {
        self.tailnet.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tailnet {
    fn user_id(&self, login: &str) -> u64 {
        let place = self.users.iter().position(|user| user == login).expect("a user of the tailnet");
        place as u64 + 1
    }

    /// `tailcfg.WhoIsResponse`.
    fn whois(&self, address: IpAddr, peer: &Peer) -> Value {
        let id = self.machines.len() + self.connections.len();
        let mut node = json!({
            "ID": id, "StableID": format!("n{id}CNTRL"), "Name": format!("{}.tail1234.ts.net.", peer.node),
            "User": peer.made_by.unwrap_or(1), "Addresses": [format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })],
            "Hostinfo": {"OS": "linux", "Hostname": peer.node}, "Created": "2026-01-01T00:00:00Z",
            "ComputedName": peer.node, "Machine": "mkey:00", "Key": "nodekey:00", "Cap": 130,
        });
        if peer.shared_in {
            node["Sharer"] = json!(7_000_001);
        }
        let profile = if let Some(login) = &peer.user {
            let id = self.user_id(login);
            node["User"] = json!(id);
            json!({"ID": id, "LoginName": login, "DisplayName": login.split('@').next()})
        } else {
            node["Tags"] = json!(peer.tags);
            // The synthetic user of all tagged nodes.
            let id = peer.made_by.unwrap_or(1_000_000_000_000_001);
            json!({"ID": id, "LoginName": "tagged-devices", "DisplayName": "Tagged Devices"})
        };
        let capabilities = (!peer.capabilities.is_empty()).then_some(&peer.capabilities);
        json!({"Node": node, "UserProfile": profile, "CapMap": capabilities})
    }

    /// `ipnstate.Status`, as far as it is about this node.
    fn status(&self) -> Value {
        let tags = (!self.own_tags.is_empty()).then_some(&self.own_tags);
        let mut own = json!({
            "ID": "n0CNTRL", "HostName": "remora-server", "DNSName": "remora-server.tail1234.ts.net.", "OS": "linux",
            "UserID": 1, "TailscaleIPs": ["100.64.0.1"], "Online": true,
        });
        if let Some(tags) = tags {
            own["Tags"] = json!(tags);
        }
        json!({
            "Version": "1.80.0-fake", "TUN": true, "BackendState": "Running", "HaveNodeKey": true, "Self": own,
            "MagicDNSSuffix": "tail1234.ts.net", "Peer": null, "User": {"1": {"ID": 1, "LoginName": OWNER}},
        })
    }
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new().fallback(answer).with_state(shared)
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let (fault, right) = {
        let mut tailnet = shared.tailnet();
        let right = if let Some(refusal) = refused(&headers) {
            refusal
        } else if method != Method::GET {
            plain(StatusCode::METHOD_NOT_ALLOWED, "want GET")
        } else {
            match uri.path() {
                "/localapi/v0/whois" => tailnet.answer_whois(&query),
                "/localapi/v0/status" => {
                    tailnet.status_calls += 1;
                    json_body(&tailnet.status())
                }
                _ => plain(StatusCode::NOT_FOUND, "404 page not found"),
            }
        };
        (tailnet.fault, right)
    };
    match fault {
        Fault::None => right,
        Fault::Slow(time) => {
            tokio::time::sleep(time).await;
            right
        }
        Fault::Status(status) => plain(StatusCode::from_u16(status).expect("a status code"), "internal error"),
        Fault::Garbage => ([(CONTENT_TYPE, "application/json")], "\u{0}not json{{").into_response(),
        Fault::OtherShape => json_body(&json!({"Node": null, "UserProfile": {"ID": "seven"}, "Self": 7})),
        Fault::HalfABody => half(),
        Fault::Silence => std::future::pending().await,
    }
}

/// What tailscaled refuses before it looks at the path: a browser's request, or one for another host.
fn refused(headers: &HeaderMap) -> Option<Response> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
    let foreign = !matches!(host, b"" | b"local-tailscaled.sock");
    let browser = headers.contains_key(ORIGIN) || headers.contains_key(REFERER);
    (foreign || browser).then(|| plain(StatusCode::FORBIDDEN, "invalid localapi request"))
}

impl Tailnet {
    fn answer_whois(&mut self, query: &BTreeMap<String, String>) -> Response {
        let asked = query.get("addr").cloned().unwrap_or_default();
        self.asked.push(asked.clone());
        if asked.is_empty() {
            return plain(StatusCode::BAD_REQUEST, "missing 'addr' parameter");
        }
        let tcp = query.get("proto").is_some_and(|proto| proto == "tcp");
        let (ip, connection) = match (asked.parse::<SocketAddr>(), asked.parse::<IpAddr>()) {
            (Ok(connection), _) => (connection.ip().to_canonical(), Some(connection)),
            (_, Ok(ip)) => (ip.to_canonical(), None),
            _ => return plain(StatusCode::BAD_REQUEST, "invalid 'addr' parameter"),
        };
        let canonical = connection.map(|connection| SocketAddr::new(ip, connection.port()));
        let proxied = canonical.filter(|_| tcp).and_then(|connection| self.connections.get(&connection));
        match proxied.or_else(|| self.machines.get(&ip)) {
            Some(peer) => json_body(&self.whois(ip, peer)),
            None => plain(StatusCode::NOT_FOUND, "no match for IP:port"),
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, format!("{text}\n")).into_response()
}

fn json_body(value: &Value) -> Response {
    let bytes = value.to_string();
    ([(CONTENT_TYPE, "application/json"), (CONTENT_LENGTH, &*bytes.len().to_string())], bytes.clone()).into_response()
}

/// A head and the first bytes of a body; then the connection breaks.
fn half() -> Response {
    let first = futures::stream::iter([Ok(Bytes::from_static(b"{\"Node\":"))]);
    let end = futures::stream::once(async {
        // What is not flushed before the error is never sent.
        tokio::task::yield_now().await;
        Err(std::io::Error::other("broken on purpose"))
    });
    let head = [(CONTENT_TYPE, "application/json"), (CONTENT_LENGTH, "1000")];
    (head, Body::from_stream(first.chain(end))).into_response()
}

/// Asks a `LocalAPI` as `curl --unix-socket` would; for the tests of the fake.
#[cfg(test)]
async fn ask(socket: &std::path::Path, path: &str, headers: &[(&str, &str)]) -> std::io::Result<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::UnixStream::connect(socket).await?;
    let mut request = format!("GET {path} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    stream.write_all((request + "\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.unwrap_or_default(), body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST_HEADER: (&str, &str) = ("Host", "local-tailscaled.sock");

    async fn whois(fake: &FakeTailscaled, address: &str) -> (u16, String) {
        ask(&fake.socket(), &format!("/localapi/v0/whois?proto=tcp&addr={address}"), &[HOST_HEADER])
            .await
            .expect("it runs")
    }

    #[tokio::test]
    async fn it_knows_machines_by_address_and_connections_by_port() {
        let fake = FakeTailscaled::start().await;
        fake.add("100.64.0.2", Peer::user("bob@example.com").grant(CAPABILITY, json!({"role": "use"})));
        fake.add("127.0.0.1:4000", Peer::node(&["tag:ci"]).made_by(1));
        let (status, body) = whois(&fake, "100.64.0.2:50000").await;
        let bob: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((status, &bob["UserProfile"]["LoginName"]), (200, &json!("bob@example.com")));
        assert_eq!(bob["CapMap"][CAPABILITY], json!([{"role": "use"}]));
        let (_, body) = whois(&fake, "127.0.0.1:4000").await;
        let ci: Value = serde_json::from_str(&body).expect("JSON");
        assert_eq!((&ci["Node"]["Tags"], &ci["UserProfile"]["ID"]), (&json!(["tag:ci"]), &json!(1)));
        assert_eq!(whois(&fake, "127.0.0.1:4001").await, (404, "no match for IP:port\n".to_owned()));
        assert_eq!(whois(&fake, "127.0.0.1").await.0, 404);
        assert_eq!(whois(&fake, "[::ffff:100.64.0.2]:1").await.0, 200);
        assert_eq!(whois(&fake, "nobody").await.0, 400);
        assert_eq!(fake.whois_calls(), 6);
    }

    #[tokio::test]
    async fn it_answers_no_browser_and_no_other_host() {
        let fake = FakeTailscaled::start().await;
        let path = "/localapi/v0/status";
        let status = async |headers: &[(&str, &str)]| ask(&fake.socket(), path, headers).await.expect("it runs").0;
        assert_eq!(status(&[HOST_HEADER]).await, 200);
        assert_eq!(status(&[("Host", "")]).await, 200);
        assert_eq!(status(&[("Host", "localhost")]).await, 403);
        assert_eq!(status(&[HOST_HEADER, ("Origin", "http://x")]).await, 403);
        assert_eq!(status(&[HOST_HEADER, ("Referer", "http://x")]).await, 403);
    }

    #[tokio::test]
    async fn it_misbehaves_dies_and_comes_back() {
        let mut fake = FakeTailscaled::start().await;
        fake.add("100.64.0.2", Peer::user("bob@example.com"));
        fake.set_fault(Fault::Status(500));
        assert_eq!(whois(&fake, "100.64.0.2").await.0, 500);
        fake.set_fault(Fault::HalfABody);
        assert_eq!(whois(&fake, "100.64.0.2").await.1, "{\"Node\":");
        fake.set_fault(Fault::None);
        fake.stop().await;
        assert!(ask(&fake.socket(), "/", &[]).await.is_err());
        fake.start_again().await;
        assert_eq!(whois(&fake, "100.64.0.2").await.0, 200);
        fake.remove("100.64.0.2");
        assert_eq!(whois(&fake, "100.64.0.2").await.0, 404);
    }
}
