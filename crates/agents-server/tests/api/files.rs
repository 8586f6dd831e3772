//! `GET|HEAD /agents/{path}`

use remora_agents_server::bundle::sha256;
use reqwest::Method;

use crate::support::{Server, header};

const YAML: &str = "name: lint\r\nsystem_prompt: p\n\n# é\n";

async fn server() -> Server {
    Server::start(&[("lint/bundle.yaml", YAML), ("lint/tools/run.pym", "x"), ("lint/empty", ""), ("page.html", "<p>")])
        .await
}

#[tokio::test]
async fn a_file_is_given_byte_for_byte_with_its_headers() {
    let server = server().await;
    let response = server.get("/agents/lint/bundle.yaml").await;
    assert_eq!(response.status(), 200);
    assert_eq!(header(&response, "etag"), format!("\"{}\"", sha256(YAML.as_bytes())));
    assert_eq!(header(&response, "content-type"), "application/yaml");
    assert_eq!(header(&response, "cache-control"), "no-cache");
    assert_eq!(header(&response, "x-content-type-options"), "nosniff");
    assert_eq!(header(&response, "accept-ranges"), "bytes");
    assert!(header(&response, "last-modified").ends_with(" GMT"));
    assert_eq!(response.bytes().await.unwrap(), YAML.as_bytes());
    let pym = server.get("/agents/lint/tools/run.pym").await;
    assert_eq!(header(&pym, "content-type"), "text/plain; charset=utf-8");
    let page = server.get("/agents/page.html").await;
    assert!(header(&page, "content-security-policy").contains("sandbox"));
    let empty = server.get("/agents/lint/empty").await;
    assert_eq!(header(&empty, "content-length"), "0");
    assert_eq!(empty.bytes().await.unwrap().len(), 0);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = server().await;
    let (get, head) =
        (server.get("/agents/lint/bundle.yaml").await, server.ask(Method::HEAD, "/agents/lint/bundle.yaml", &[]).await);
    assert_eq!(head.status(), 200);
    for name in ["etag", "content-type", "content-length", "last-modified", "cache-control"] {
        assert_eq!(header(&get, name), header(&head, name), "{name}");
    }
    assert_eq!(head.bytes().await.unwrap().len(), 0);
    // A range means nothing to HEAD.
    let head = server.ask(Method::HEAD, "/agents/lint/bundle.yaml", &[("range", "bytes=0-1")]).await;
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, YAML.len().to_string().as_str()));
}

#[tokio::test]
async fn if_none_match_spares_the_body() {
    let server = server().await;
    let tag = format!("\"{}\"", sha256(YAML.as_bytes()));
    let cases = [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"other\", {tag}"), 304),
        (format!("\"other\",W/{tag} , \"more\""), 304),
        ("*".to_owned(), 304),
        ("\"other\"".to_owned(), 200),
        (tag.trim_matches('"').to_owned(), 200),
        (tag.to_uppercase(), 200),
        (String::new(), 200),
    ];
    for (value, status) in cases {
        for method in [Method::GET, Method::HEAD] {
            let response = server.ask(method.clone(), "/agents/lint/bundle.yaml", &[("if-none-match", &value)]).await;
            assert_eq!(response.status(), status, "{method} {value}");
            assert_eq!(header(&response, "etag"), tag);
            let length = if status == 200 && method == Method::GET { YAML.len() } else { 0 };
            assert_eq!(response.bytes().await.unwrap().len(), length);
        }
    }
    // The tag is asked before the range, and several lines make one list.
    let both = [("if-none-match", "\"other\""), ("if-none-match", tag.as_str()), ("range", "bytes=0-0")];
    assert_eq!(server.ask(Method::GET, "/agents/lint/bundle.yaml", &both).await.status(), 304);
}

#[tokio::test]
async fn if_match_is_strong() {
    let server = server().await;
    let tag = format!("\"{}\"", sha256(YAML.as_bytes()));
    for (value, status) in [(tag.clone(), 200), ("*".into(), 200), (format!("W/{tag}"), 412), ("\"x\"".into(), 412)] {
        let response = server.ask(Method::GET, "/agents/lint/bundle.yaml", &[("if-match", &value)]).await;
        assert_eq!(response.status(), status, "{value}");
    }
}

#[tokio::test]
async fn ranges() {
    let server = server().await;
    let (bytes, length) = (YAML.as_bytes(), YAML.len());
    let satisfied = [
        ("bytes=0-3", 0..4),
        ("bytes=5-", 5..length),
        ("bytes=-3", length - 3..length),
        ("bytes=-9999", 0..length),
        ("BYTES=2-99999999999999999999999", 2..length),
    ];
    for (range, expected) in satisfied {
        let response = server.ask(Method::GET, "/agents/lint/bundle.yaml", &[("range", range)]).await;
        assert_eq!(response.status(), 206, "{range}");
        let content_range = format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
        assert_eq!(header(&response, "content-range"), content_range);
        assert_eq!(header(&response, "content-length"), expected.len().to_string());
        assert_eq!(response.bytes().await.unwrap(), bytes[expected]);
    }
    for range in [format!("bytes={length}-"), "bytes=-0".into(), "bytes=99999999999999999999999-".into()] {
        let response = server.ask(Method::GET, "/agents/lint/bundle.yaml", &[("range", &range)]).await;
        assert_eq!(response.status(), 416, "{range}");
        assert_eq!(header(&response, "content-range"), format!("bytes */{length}"));
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "range_not_satisfiable");
    }
    for ignored in
        ["bytes=3-1", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes", "bytes=-", "bytes=1-2-3", "bytes=+1-2"]
    {
        let response = server.ask(Method::GET, "/agents/lint/bundle.yaml", &[("range", ignored)]).await;
        assert_eq!(response.status(), 200, "{ignored}");
    }
    let empty = server.ask(Method::GET, "/agents/lint/empty", &[("range", "bytes=0-")]).await;
    assert_eq!((empty.status().as_u16(), header(&empty, "content-range")), (416, "bytes */0"));
}

#[tokio::test]
async fn if_range_decides_between_part_and_whole() {
    let server = server().await;
    let tag = format!("\"{}\"", sha256(YAML.as_bytes()));
    let date = header(&server.get("/agents/lint/bundle.yaml").await, "last-modified").to_owned();
    for (value, status) in
        [(tag.clone(), 206), (format!("W/{tag}"), 200), ("\"x\"".into(), 200), (date, 200), ("*".into(), 200)]
    {
        let headers = [("range", "bytes=0-1"), ("if-range", value.as_str())];
        let response = server.ask(Method::GET, "/agents/lint/bundle.yaml", &headers).await;
        assert_eq!(response.status(), status, "{value}");
    }
}

#[tokio::test]
async fn what_does_not_exist_says_so() {
    let server = server().await;
    for path in
        ["/agents/nothing", "/agents/lint", "/agents/lint/", "/agents//lint/bundle.yaml", "/agents/lint/bundle.yaml/"]
    {
        let response = server.get(path).await;
        assert_eq!(response.status(), 404, "{path}");
        let body: serde_json::Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], "no_such_file");
    }
    assert_eq!(server.ask(Method::POST, "/agents/lint/bundle.yaml", &[]).await.status(), 405);
}
