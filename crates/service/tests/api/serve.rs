//! Tailscale Serve: headers are believed on its own socket, and nowhere else.

use http::StatusCode;
use remora_service::identity::IdentityConfig;
use remora_service::{Identity, Running, ServiceName};
use remora_testing::fake_tailscaled::{FakeTailscaled, Peer};
use tempfile::TempDir;

use crate::support::{Answer, send, start};

const ANN: &str = "100.64.0.7";

struct Served {
    tailscaled: FakeTailscaled,
    folder: TempDir,
    url: String,
    _running: Running,
}

impl Served {
    async fn start() -> Self {
        let tailscaled = FakeTailscaled::start().await;
        tailscaled.add(ANN, Peer::user("ann@example.com"));
        let folder = tempfile::tempdir().unwrap();
        let config = IdentityConfig {
            tailscaled: Some(tailscaled.socket()),
            serve_folder: Some(folder.path().to_owned()),
            keys: Some(folder.path().join("keys.sqlite")),
            credentials: Some(folder.path().join("credentials")),
            audit: Some(folder.path().join("audit")),
            ..IdentityConfig::default()
        };
        let identity = Identity::new(&config).unwrap().of_service(ServiceName::Gateway).await.unwrap();
        let (url, running) = start(|s| s.identity(&identity)).await;
        Self { tailscaled, folder, url, _running: running }
    }

    fn client(&self) -> reqwest::Client {
        reqwest::Client::builder().unix_socket(self.folder.path().join("gateway.sock")).build().unwrap()
    }
}

async fn ask(client: &reqwest::Client, url: &str, headers: &[(&str, &str)]) -> Answer {
    let request = client.get(format!("{url}/whoami")).header("host", "remora-server.tail.ts.net");
    send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
}

#[tokio::test]
async fn serve_says_who_is_calling_and_tailscaled_says_who_that_is() {
    let served = Served::start().await;
    let client = served.client();
    let ann = ask(&client, "http://x", &[("x-forwarded-for", ANN), ("tailscale-user-login", "root@evil.com")]).await;
    assert!(ann.status == StatusCode::OK && ann.body.contains("ann@example.com"), "{}", ann.body);
    // The next request on the same connection is somebody else's.
    let nobody = ask(&client, "http://x", &[("x-forwarded-for", "100.64.0.8")]).await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED, "{}", nobody.body);
    for headers in [
        &[][..],
        &[("x-forwarded-for", "ann")],
        &[("x-forwarded-for", ANN), ("tailscale-funnel-request", "?1")],
        &[("tailscale-user-login", "ann@example.com")],
    ] {
        let refused = ask(&client, "http://x", headers).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{headers:?}: {}", refused.body);
    }
    assert_eq!(served.tailscaled.asked(), [ANN, "100.64.0.8"]);
}

#[tokio::test]
async fn a_neighbour_that_writes_the_same_headers_is_nobody() {
    let served = Served::start().await;
    let headers = [("x-forwarded-for", ANN), ("tailscale-user-login", "ann@example.com"), ("x-real-ip", ANN)];
    let refused = ask(&reqwest::Client::new(), &served.url, &headers).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{}", refused.body);
    assert!(served.tailscaled.asked().iter().all(|asked| asked.starts_with("127.0.0.1:")));
}
