use http::StatusCode;
use insta::assert_json_snapshot;
use remora_service::{Listener, Service, Stop, every_route};
use serde_json::{Value, json};

use crate::support::{get, routes, send, start};

#[tokio::test]
async fn every_service_tells_how_it_is() {
    let (url, _running) = start(|s| s.details(|| json!({"shelves": 3}))).await;
    assert_eq!(get(&url, "/health").await.body, r#"{"status":"ok"}"#);
    assert_eq!(get(&url, "/ready").await.body, r#"{"ready":true,"reasons":[]}"#);
    let status: Value = serde_json::from_str(&get(&url, "/status").await.body).unwrap();
    assert_json_snapshot!(status, {".listen" => "[listen]", ".started_at" => "[time]", ".version" => "[version]"}, @r#"
    {
      "name": "sample",
      "version": "[version]",
      "listen": "[listen]",
      "started_at": "[time]",
      "uptime_s": 0,
      "requests_processed": 2,
      "requests_in_flight": 1,
      "ready": true,
      "reasons": [],
      "details": {
        "shelves": 3
      }
    }
    "#);
}

#[tokio::test]
async fn a_service_that_lacks_something_is_alive_but_not_ready() {
    let (url, _running) = start(|s| s.ready(|| vec!["no engine yet".into()])).await;
    assert_eq!(get(&url, "/health").await.status, StatusCode::OK);
    let ready = get(&url, "/ready").await;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, r#"{"ready":false,"reasons":["no engine yet"]}"#)
    );
}

#[tokio::test]
async fn metrics_count_by_template_and_never_by_path() {
    let (url, _running) = start(|s| s).await;
    for path in ["/agents/lint", "/agents/test", "/no/such/thing", "/nor/this"] {
        get(&url, path).await;
    }
    let metrics = get(&url, "/metrics").await.body;
    let line = |wanted: &str| metrics.lines().any(|line| line == wanted);
    assert!(line(r#"remora_http_requests_total{method="GET",route="/agents/{name}",status="200"} 2"#), "{metrics}");
    assert!(line(r#"remora_http_requests_total{method="GET",route="unmatched",status="404"} 2"#), "{metrics}");
    assert!(line("remora_http_requests_in_flight 1"), "{metrics}");
}

#[tokio::test]
async fn the_api_document_states_who_may_call_every_route() {
    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).await.unwrap();
    let api = Service::new("sample", listener, routes(Stop::new())).api();
    let stated: Vec<_> = every_route(&api)
        .map(|r| format!("{} {} {} {}", r.method, r.path, r.access.unwrap(), r.services.unwrap().join(" ")))
        .collect();
    assert!(stated.contains(&"GET /admin admin ".to_owned()), "{stated:?}");
    assert!(stated.contains(&"POST /orders use dashboard".to_owned()), "{stated:?}");
    assert!(stated.iter().any(|route| route.starts_with("GET /health public gateway ")), "{stated:?}");
    assert!(stated.iter().any(|route| route.starts_with("GET /whoami known gateway ")), "{stated:?}");
}

#[tokio::test]
async fn the_document_and_the_page_list_the_routes() {
    let (url, _running) = start(|s| s).await;
    let document: Value = serde_json::from_str(&get(&url, "/openapi.json").await.body).unwrap();
    assert_eq!(document["paths"]["/orders"]["post"]["x-remora-access"], "use");
    let page = get(&url, "/docs").await.body;
    assert!(page.contains("/agents/{name}") && page.contains("/health"), "{page}");
}

#[tokio::test]
async fn a_request_id_is_taken_over_when_plain_and_made_otherwise() {
    let (url, _running) = start(|s| s).await;
    let client = reqwest::Client::new();
    let id_for = |id: &'static str| send(client.get(format!("{url}/health")).header("x-request-id", id));
    assert_eq!(id_for("abc-1").await.headers["x-request-id"], "abc-1");
    let replaced = id_for("with space").await.headers["x-request-id"].clone();
    assert!(replaced.to_str().unwrap().starts_with("req-"), "{replaced:?}");
    assert_ne!(get(&url, "/health").await.headers["x-request-id"], get(&url, "/health").await.headers["x-request-id"]);
}
