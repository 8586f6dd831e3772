//! The bundles that Remora brings along: sound, and their tools really run.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use remora_agents_server::Limits;
use remora_agents_server::folder::read_bundle;
use remora_types::agents::{Manifest, ToolSource};
use serde_json::{Value, json};

fn agents() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../agents").canonicalize().unwrap()
}

fn manifest(name: &str) -> Manifest {
    let reading = read_bundle(&agents().join(name), Limits::default()).unwrap();
    assert!(reading.faults.is_empty() && reading.warnings.is_empty(), "{name}: {reading:?}");
    reading.manifest.unwrap()
}

#[test]
fn the_shipped_bundles_are_sound() {
    for name in ["assistant", "docstring", "lint", "test"] {
        let manifest = manifest(name);
        assert_eq!(manifest.name, name);
        assert!(manifest.version.is_some() && manifest.description.is_some());
        assert!(manifest.system_prompt.unwrap().len() > 500, "{name} has a real prompt");
        for tool in manifest.tools {
            assert!(tool.source == ToolSource::BuiltIn || tool.description.is_some(), "{name}: {}", tool.name);
        }
    }
}

/// Runs a tool as agent-runner does: JSON on stdin, JSON from stdout, the workspace as working directory.
fn run(tool: &str, workspace: &Path, arguments: &Value) -> Value {
    let mut command = Command::new(agents().join(tool));
    let child = command.current_dir(workspace).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    child.stdin.take().unwrap().write_all(arguments.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{tool}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A small Python project with something for every tool to find.
fn workspace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("README.md", "# A project\n");
    write("shop/__init__.py", "\"\"\"A shop.\"\"\"\n");
    write(
        "shop/price.py",
        "\"\"\"Prices.\"\"\"\n\n\ndef total(items):\n    return sum(items)\n\n\ndef _own():\n    pass\n",
    );
    write("shop/broken.py", "def f(:\n");
    write("data.json", "{,}");
    write("src/lib.rs", "/// Said.\n#[inline]\npub fn said() {}\n\npub fn unsaid() {}\n\nfn private() {}\n");
    write("tests/__init__.py", "");
    write(
        "tests/test_price.py",
        "import unittest\n\nfrom shop.price import total\n\n\nclass Price(unittest.TestCase):\n    def test_good(self):\n        \
         self.assertEqual(total([1, 2]), 3)\n\n    def test_bad(self):\n        self.assertEqual(total([1]), 2)\n",
    );
    folder
}

#[test]
fn run_linters_finds_what_is_wrong() {
    let folder = workspace();
    let result = run("lint/tools/run_linters", folder.path(), &json!({"linters": ["syntax"]}));
    let places: Vec<_> = result["findings"].as_array().unwrap().iter().map(|f| (&f["path"], &f["line"])).collect();
    assert_eq!(places, [(&json!("data.json"), &json!(1)), (&json!("shop/broken.py"), &json!(1))]);
    let one = run("lint/tools/run_linters", folder.path(), &json!({"linters": ["syntax"], "paths": ["shop/price.py"]}));
    assert_eq!((&one["total"], &one["linters"][0]["status"]), (&json!(0), &json!("clean")));
}

#[test]
fn find_undocumented_lists_what_lacks_words() {
    let folder = workspace();
    let result = run("docstring/tools/find_undocumented", folder.path(), &json!({"paths": ["shop", "src"]}));
    let names: Vec<_> = result["items"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["total", "unsaid"]);
    assert_eq!(result["coverage"]["Rust"], json!({"items": 2, "documented": 1}));
    assert_eq!(result["unreadable"][0]["path"], "shop/broken.py");
    let all = run("docstring/tools/find_undocumented", folder.path(), &json!({"include_private": true, "limit": 1}));
    assert_eq!((all["items"].as_array().unwrap().len(), &all["truncated"]), (1, &json!(true)));
}

#[test]
fn run_tests_tells_what_failed_and_where() {
    let folder = workspace();
    let result = run("test/tools/run_tests", folder.path(), &json!({"runner": "unittest"}));
    assert_eq!((&result["status"], &result["counts"]["passed"]), (&json!("failed"), &json!(1)));
    let failure = &result["failures"][0];
    assert_eq!(
        (&failure["test"], &failure["place"]),
        (&json!("tests.test_price.Price.test_bad"), &json!("tests/test_price.py:11"))
    );
    assert_eq!(failure["message"], "AssertionError: 1 != 2");
    let good = run("test/tools/run_tests", folder.path(), &json!({"runner": "unittest", "filter": "test_good"}));
    assert_eq!(good["status"], "passed");
    std::fs::write(
        folder.path().join("tests/test_slow.py"),
        "import time, unittest\nclass Slow(unittest.TestCase):\n    def test_slow(self):\n        time.sleep(60)\n",
    )
    .unwrap();
    let slow = json!({"runner": "unittest", "filter": "test_slow", "timeout_s": 1});
    assert_eq!(run("test/tools/run_tests", folder.path(), &slow)["status"], "timed out");
}

#[test]
fn project_overview_tells_what_there_is() {
    let folder = workspace();
    let result = run("assistant/tools/project_overview", folder.path(), &json!({}));
    assert_eq!(result["languages"][0]["language"], "Python");
    assert_eq!(result["readme"]["head"], "# A project\n");
    assert_eq!(result["folders"], json!(["shop", "src", "tests"]));
}

#[test]
fn tools_refuse_what_is_outside_or_malformed_with_words() {
    let folder = workspace();
    std::os::unix::fs::symlink("/etc", folder.path().join("etc")).unwrap();
    let lists = ["lint/tools/run_linters", "docstring/tools/find_undocumented"];
    let singles = ["test/tools/run_tests", "assistant/tools/project_overview"];
    for path in ["..", "/etc", "etc", "no-such-thing"] {
        for tool in lists {
            assert!(run(tool, folder.path(), &json!({"paths": [path]}))["error"].is_string(), "{tool} {path}");
        }
        for tool in singles {
            assert!(run(tool, folder.path(), &json!({"path": path}))["error"].is_string(), "{tool} {path}");
        }
    }
    for tool in lists.into_iter().chain(singles) {
        for malformed in [json!([]), json!("x"), json!({"paths": 3, "path": 3}), json!({"paths": [3], "path": [3]})] {
            assert!(run(tool, folder.path(), &malformed)["error"].is_string(), "{tool} {malformed}");
        }
    }
}
