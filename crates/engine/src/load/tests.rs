//! Real files, whole and spoiled, all the way into llama.cpp.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use llama_cpp_sys_2 as sys;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use remora_gguf::{TensorType, Value};

use crate::config::EngineConfig;
use crate::llama::{Computing, Context, ContextSize, KvType, LoadError, Model, ModelFile, Row};

/// Names the folder of the files that a child is to load.
const FOLDER: &str = "REMORA_TEST_SPOILED";

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo/remora-demo.gguf")
}

/// Everything a first answer takes.
fn use_model(path: &Path) -> Result<(), LoadError> {
    let file = ModelFile::read(path)?;
    let model = Model::load(&file, 0, |_| true)?;
    let size = ContextSize { slots: 2, tokens_per_slot: 256, batch: 64 };
    let mut context = Context::new(&model, size, Computing::with(1))?;
    let tokens = model.tokenize("Hello, what is 2 + 2? \u{1f600}\u{7}\n<|im_start|>", true);
    let tokens = tokens.into_iter().take(60).chain([0]);
    let rows: Vec<_> =
        (0..).zip(tokens).map(|(position, token)| Row { token, position, slot: 1, scores: true }).collect();
    let _ = context.decode(&rows, None);
    let _ = model.detokenize(&rows.iter().map(|row| row.token).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn the_whole_model_is_loaded_with_growing_progress() {
    let (told, heard) = std::sync::mpsc::channel();
    Model::load(&ModelFile::read(&demo()).unwrap(), 0, move |share| told.send(share).is_ok()).unwrap();
    let shares: Vec<f32> = heard.try_iter().collect();
    assert!(shares.is_sorted() && shares.len() > 10, "{shares:?}");
    assert!((shares[shares.len() - 1] - 1.0).abs() < f32::EPSILON, "{shares:?}");
}

#[test]
fn every_cache_type_that_is_offered_computes() {
    let model = Model::load(&ModelFile::read(&demo()).unwrap(), 0, |_| true).unwrap();
    let size = ContextSize { slots: 1, tokens_per_slot: 256, batch: 64 };
    let best = |kv_type| {
        let mut context = Context::new(&model, size, Computing { kv_type, ..Computing::with(1) }).unwrap();
        let tokens = model.tokenize("<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n", true);
        let rows: Vec<_> =
            (0..).zip(tokens).map(|(position, token)| Row { token, position, slot: 0, scores: true }).collect();
        context.decode(&rows, None).unwrap();
        let scores = context.scores(rows.len() - 1).to_vec();
        scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
    };
    let exact = best(KvType::F32);
    for kv_type in [KvType::F16, KvType::Bf16, KvType::Q8_0] {
        assert_eq!(best(kv_type), exact, "{kv_type:?}");
    }
    for kv_type in [KvType::Q5_1, KvType::Q5_0, KvType::Q4_1, KvType::Q4_0, KvType::Iq4Nl] {
        best(kv_type);
    }
}

#[test]
#[expect(unsafe_code, reason = "ggml's own table is behind C functions")]
fn the_types_of_tensors_are_ggml_s() {
    for kind in TensorType::all() {
        // SAFETY: pure lookups in a static table, by numbers that are in it.
        let (block, bytes, name) = unsafe {
            let name = CStr::from_ptr(sys::ggml_type_name(kind.number()));
            (sys::ggml_blck_size(kind.number()), sys::ggml_type_size(kind.number()), name.to_str().unwrap())
        };
        assert_eq!((u64::try_from(block).unwrap(), bytes as u64), kind.block(), "{name}");
        assert_eq!(name.to_uppercase(), kind.name());
    }
}

#[test]
fn memory_is_estimated_on_the_safe_side_but_not_wildly() {
    let file = ModelFile::read(&demo()).unwrap();
    let plan = super::Plan::make(&EngineConfig::new(demo()), &file).unwrap();
    let model = Model::load(&file, 0, |_| true).unwrap();
    let before = resident();
    let mut context = Context::new(&model, plan.size, Computing::with(1)).unwrap();
    let row = |position, slot| Row { token: 1, position, slot, scores: position == 31 };
    let rows: Vec<_> = (0..16).flat_map(|slot| (0..32).map(move |position| row(position, slot))).collect();
    context.decode(&rows, None).unwrap();
    let taken = resident() - before;
    let need = plan.need.total() - plan.need.weights;
    assert!(taken < need + (8 << 20) && need < taken * 3 + (32 << 20), "took {taken}, estimated {need}");
}

/// Bytes that this process holds; the cache is filled with zeros when it is made, so all of it is among them.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn what_is_spoiled_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let demo = std::fs::read(demo()).unwrap();
    let refusal = |content: &[u8]| {
        let path = folder.path().join("spoiled.gguf");
        std::fs::write(&path, content).unwrap();
        let error = ModelFile::read(&path).unwrap_err();
        std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default()
    };
    let with = |key: &str, value: &[u8]| {
        let mut spoiled = demo.clone();
        let place = value_of(&demo, key);
        spoiled[place..place + value.len()].copy_from_slice(value);
        refusal(&spoiled)
    };
    let layers = with("llama.block_count", &0u32.to_le_bytes());
    assert_eq!(layers, "key llama.block_count: 0 layers, where 1 to 512 are possible");
    let epsilon = with("llama.attention.layer_norm_rms_epsilon", &(-1f32).to_le_bytes());
    assert_eq!(epsilon, "key llama.attention.layer_norm_rms_epsilon: it is negative or no number");
    // After type, item type and count come the first tokens; the second one gets the first one's text.
    let tokens = value_of(&demo, "tokenizer.ggml.tokens") + 12;
    let length =
        |place: usize| usize::try_from(u64::from_le_bytes(demo[place..place + 8].try_into().unwrap())).unwrap();
    let mut spoiled = demo.clone();
    let mut places = Vec::new();
    let mut place = tokens;
    for _ in 0..100 {
        places.push(place);
        place += 8 + length(place);
    }
    let single: Vec<_> = places.into_iter().filter(|&place| length(place) == 1).take(2).collect();
    spoiled[single[1] + 8] = demo[single[0] + 8];
    assert!(refusal(&spoiled).ends_with("has the text of another one"));
    assert!(refusal(&demo[..demo.len() - 100]).contains("the file is cut short: tensor"));
}

#[test]
fn a_part_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = std::fs::read(demo()).unwrap();
    let keys = u64::from_le_bytes(file[16..24].try_into().unwrap());
    file[16..24].copy_from_slice(&(keys + 2).to_le_bytes());
    let key = |name: &str, value: u16| {
        [&(name.len() as u64).to_le_bytes()[..], name.as_bytes(), &2u32.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    let keys = [key("split.count", 2), key("split.no", 0)].concat();
    file.splice(24..24, keys.iter().copied());
    // The tensors begin at the next aligned place, which has moved.
    let header = remora_gguf::read(std::io::Cursor::new(std::fs::read(demo()).unwrap())).unwrap();
    let data = usize::try_from(header.data).unwrap();
    let end = data + keys.len();
    file.splice(end..end, vec![0; end.next_multiple_of(32) - end]);
    let path = folder.path().join("model-00001-of-00002.gguf");
    std::fs::write(&path, &file).unwrap();
    let error = ModelFile::read(&path).unwrap_err().to_string();
    assert!(error.starts_with("no model file at ") && error.ends_with("model-00002-of-00002.gguf"), "{error}");
    let other = folder.path().join("renamed.gguf");
    std::fs::write(&other, &file).unwrap();
    assert!(matches!(ModelFile::read(&other).unwrap_err(), LoadError::Broken { .. }));
}

/// Where a key's value begins.
fn value_of(file: &[u8], key: &str) -> usize {
    let wanted = [&(key.len() as u64).to_le_bytes()[..], key.as_bytes()].concat();
    let place = file.windows(wanted.len()).position(|window| window == wanted).unwrap();
    place + wanted.len() + 4
}

/// Values that break things.
const NUMBERS: [u32; 12] = [0, 1, 2, 3, 7, 31, 33, 511, 512, 513, 0x8000_0000, u32::MAX];

/// A copy of the demo model with something changed in its header.
fn spoil(demo: &[u8], header: &remora_gguf::Header, runner: &mut TestRunner) -> Vec<u8> {
    let mut choose = |below: usize| (0..below).new_tree(runner).unwrap().current();
    let mut file = demo.to_vec();
    for _ in 0..=choose(3) {
        if choose(3) > 0 {
            let (key, value) = header.metadata.iter().nth(choose(header.metadata.len())).unwrap();
            let place = value_of(demo, key);
            match value {
                Value::U32(_) | Value::I32(_) | Value::F32(_) => {
                    file[place..place + 4].copy_from_slice(&NUMBERS[choose(NUMBERS.len())].to_le_bytes());
                }
                Value::Text(text) if !text.is_empty() => file[place + 8 + choose(text.len())] = b'x',
                Value::Array(_) => file[place + 12 + choose(4000)] = u8::try_from(choose(256)).unwrap(),
                // Another type.
                _ => file[place - 4] = u8::try_from(choose(13)).unwrap(),
            }
        } else {
            let place = usize::try_from(header.data).unwrap() - 1 - choose(3000);
            file[place] = NUMBERS[choose(NUMBERS.len())].to_le_bytes()[0];
        }
    }
    file
}

/// What passes the check does not end the process: a child loads files that were spoiled at random, but pass.
/// `PROPTEST_CASES` sets how many there are, and `PROPTEST_RNG_SEED` which.
#[test]
fn what_passes_the_check_does_not_end_the_process() {
    let demo = std::fs::read(demo()).unwrap();
    let header = remora_gguf::read(std::io::Cursor::new(&demo)).unwrap();
    let mut runner = TestRunner::new(proptest::test_runner::Config::default());
    let wanted = runner.config().cases.min(5000) / 8;
    let folder = tempfile::tempdir().unwrap();
    let (mut passed, mut files) = (0, Vec::new());
    while passed < wanted {
        let file = spoil(&demo, &header, &mut runner);
        let path = folder.path().join(format!("{passed:04}.gguf"));
        std::fs::write(&path, file).unwrap();
        if ModelFile::read(&path).is_ok() {
            passed += 1;
            files.push(path);
        }
        if files.len() == 32 || passed == wanted {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "load::tests::loads_what_it_is_told", "--ignored", "--nocapture"])
                .env(FOLDER, folder.path())
                .output()
                .unwrap();
            let output = String::from_utf8_lossy(&child.stdout);
            if !child.status.success() {
                let last = output.lines().rev().find(|line| line.contains("loading")).unwrap_or("nothing").to_owned();
                let kept = folder.keep();
                panic!(
                    "{}: {last}, kept in {}: {}",
                    child.status,
                    kept.display(),
                    String::from_utf8_lossy(&child.stderr)
                );
            }
            for file in files.drain(..) {
                std::fs::remove_file(file).unwrap();
            }
        }
    }
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn loads_what_it_is_told() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        println!("loading {}", file.display());
        if let Err(error) = use_model(&file) {
            println!("refused: {error}");
        }
    }
}
