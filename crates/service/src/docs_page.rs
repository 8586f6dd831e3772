//! The API document as one plain HTML page.
//!
//! Own, since the published pages (Swagger UI, Scalar) load their scripts from elsewhere, and a private server's docs
//! must work without the internet. No scripts at all: it is read, not clicked.

use std::fmt::Write;

use utoipa::openapi::OpenApi;

use crate::routes::operations;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    table{border-collapse:collapse;width:100%}td{border-top:1px solid #8884;padding:.4rem .6rem;vertical-align:top}\
    code{font:14px ui-monospace,monospace}.m{font-weight:600}.a{opacity:.7}:root{color-scheme:light dark}";

/// One row per route: method, path, access, what it does.
pub(crate) fn render(api: &OpenApi) -> String {
    let mut rows = String::new();
    for (path, item) in &api.paths.paths {
        for (method, operation) in operations(item) {
            let access = operation.extensions.as_ref().and_then(|e| e.get("x-remora-access"));
            let access = access.and_then(|v| v.as_str()).unwrap_or_default();
            let what = operation.summary.as_deref().or(operation.description.as_deref()).unwrap_or_default();
            let _ = write!(
                rows,
                "<tr><td class=m>{method}</td><td><code>{}</code></td><td class=a>{access}</td><td>{}</td></tr>",
                escape(path),
                escape(what)
            );
        }
    }
    let description = escape(api.info.description.as_deref().unwrap_or_default());
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>Remora API</title><style>{STYLE}</style><h1>Remora {}</h1><p>{description}</p>\
         <p>Machine-readable: <a href=openapi.json>openapi.json</a></p><table>{rows}</table></html>",
        escape(&api.info.version)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
