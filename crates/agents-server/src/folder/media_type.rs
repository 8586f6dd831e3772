//! What kind of file it is.

/// The content type of a file, by its extension, else by its bytes. Text that is UTF-8 says so.
pub(super) fn of(path: &str, held: Option<&[u8]>) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let by_extension = extension.as_deref().and_then(by_extension);
    // Files that do not fit in memory are taken for binary: nothing has looked at all of their bytes.
    let utf8 = held.is_some_and(|bytes| !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok());
    match by_extension {
        Some(Kind::Exact(kind)) => kind,
        Some(Kind::Text(_, with_charset)) if utf8 => with_charset,
        Some(Kind::Text(plain, _)) => plain,
        None if utf8 => "text/plain; charset=utf-8",
        None => "application/octet-stream",
    }
}

/// Whether a browser would run scripts in it.
pub(super) fn is_active(media_type: &str) -> bool {
    ["text/html", "image/svg+xml", "application/xml"].iter().any(|active| media_type.starts_with(active))
}

enum Kind {
    Exact(&'static str),
    /// Without and with the charset.
    Text(&'static str, &'static str),
}

fn by_extension(extension: &str) -> Option<Kind> {
    let kind = match extension {
        "yaml" | "yml" => Kind::Exact("application/yaml"),
        "json" => Kind::Exact("application/json"),
        "toml" => Kind::Exact("application/toml"),
        "gz" | "tgz" => Kind::Exact("application/gzip"),
        "zip" => Kind::Exact("application/zip"),
        "pdf" => Kind::Exact("application/pdf"),
        "wasm" => Kind::Exact("application/wasm"),
        "png" => Kind::Exact("image/png"),
        "jpg" | "jpeg" => Kind::Exact("image/jpeg"),
        "gif" => Kind::Exact("image/gif"),
        "webp" => Kind::Exact("image/webp"),
        "svg" => Kind::Exact("image/svg+xml"),
        "xml" => Kind::Exact("application/xml"),
        "md" => Kind::Text("text/markdown", "text/markdown; charset=utf-8"),
        "html" | "htm" => Kind::Text("text/html", "text/html; charset=utf-8"),
        "css" => Kind::Text("text/css", "text/css; charset=utf-8"),
        "csv" => Kind::Text("text/csv", "text/csv; charset=utf-8"),
        "js" | "mjs" => Kind::Text("text/javascript", "text/javascript; charset=utf-8"),
        // Browsers and editors show these as text, whatever language they are in.
        "pym" | "py" | "pyi" | "sh" | "txt" | "jinja" | "j2" | "rs" | "ts" | "ebnf" | "old" => {
            Kind::Text("text/plain", "text/plain; charset=utf-8")
        }
        _ => return None,
    };
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_the_name_then_the_bytes() {
        assert_eq!(of("lint/bundle.yaml", Some(b"name: x")), "application/yaml");
        assert_eq!(of("lint/tools/run.pym", Some(b"x")), "text/plain; charset=utf-8");
        assert_eq!(of("lint/tools/run.pym", Some(&[0xff])), "text/plain");
        assert_eq!(of("SKILL.md", Some("é".as_bytes())), "text/markdown; charset=utf-8");
        assert_eq!(of("tools.d/run", Some(b"#!/bin/sh")), "text/plain; charset=utf-8");
        assert_eq!(of("weights.bin", Some(&[0, 1])), "application/octet-stream");
        assert_eq!(of("big", None), "application/octet-stream");
    }
}
