//! A model's files before llama.cpp sees them: what they hold, and whether they can be given to it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use remora_gguf::{GgufError, Header, Shape, Value};

use super::checks;
use super::embedder::{EmbeddingKind, Pooling};
use super::model::LoadError;
use crate::adapter::MatrixSize;

/// Most files that a model is split into.
const MAX_PARTS: u16 = 1000;

/// A model on disk, its headers read and checked.
#[derive(Debug)]
pub(crate) struct ModelFile {
    path: PathBuf,
    /// The first file's header has the metadata; a model that is split has more files with tensors only.
    headers: Vec<Header>,
    /// The files of these headers.
    paths: Vec<PathBuf>,
}

impl ModelFile {
    /// Reads the headers, and refuses what llama.cpp would refuse without words, or abort over.
    pub(crate) fn read(path: &Path) -> Result<Self, LoadError> {
        let broken = |source| LoadError::Broken { path: path.to_owned(), source };
        let (mut file, first) = read_header(path)?;
        checks::check(&first, &mut file).map_err(broken)?;
        let (mut headers, mut paths) = (vec![first], vec![path.to_owned()]);
        for (part, number) in parts(path, &headers[0])?.into_iter().zip(1..) {
            let (_, header) = read_header(&part)?;
            // llama.cpp takes it for granted that this is a U16.
            if header.get("split.no") != Some(&Value::U16(number)) {
                let reason = format!("it is not part {number} of this model");
                let source = GgufError::Key { key: "split.no".into(), reason };
                return Err(LoadError::Broken { path: part, source });
            }
            headers.push(header);
            paths.push(part);
        }
        Ok(Self { path: path.to_owned(), headers, paths })
    }

    /// Where the first file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Every file, and its size.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, u64)> + Clone {
        self.paths.iter().map(PathBuf::as_path).zip(self.headers.iter().map(|header| header.file_bytes))
    }

    /// The header with the metadata.
    pub(crate) fn header(&self) -> &Header {
        &self.headers[0]
    }

    /// What decides how much memory the model works in, where the file tells it.
    pub(crate) fn shape(&self) -> Option<Shape> {
        Shape::of(self.header())
    }

    /// Size of the weights; of those that stay in the machine's own memory, when so many of the last layers are given
    /// to a GPU.
    pub(crate) fn weight_bytes(&self, gpu_layers: u32) -> u64 {
        let layers = self.shape().map_or(0, |shape| shape.layers);
        let first_away = layers.saturating_sub(gpu_layers.into());
        let stays = |name: &str| match layer_of(name) {
            Some(layer) => layer < first_away,
            // The last layer stands for the output too; the table of token vectors is always read by the CPU.
            None => gpu_layers == 0 || name.starts_with("token_embd"),
        };
        let tensors = self.headers.iter().flat_map(|header| &header.tensors);
        tensors.filter(|tensor| stays(&tensor.name)).map(|tensor| tensor.size_bytes).fold(0, u64::saturating_add)
    }

    /// What kind of embedding model it is; none for one that generates.
    pub(crate) fn embedding(&self) -> Result<Option<EmbeddingKind>, LoadError> {
        /// Those that look both ways; further ones of that kind generate, by denoising, which is not done here.
        const ENCODERS: [&str; 10] = [
            "bert",
            "eurobert",
            "gemma-embedding",
            "jina-bert-v2",
            "jina-bert-v3",
            "llama-embed",
            "modern-bert",
            "neo-bert",
            "nomic-bert",
            "nomic-bert-moe",
        ];
        let architecture = self.header().architecture();
        let key = |name: &str| self.header().get(&format!("{architecture}.{name}"));
        let encoder = ENCODERS.contains(&architecture);
        let causal = key("attention.causal").and_then(Value::as_bool).unwrap_or(!encoder);
        // The numbers of llama.cpp's `llama_pooling_type`.
        let pooling = match key("pooling_type").and_then(Value::as_u64) {
            Some(1) => Pooling::Mean,
            Some(2) => Pooling::First,
            Some(3) => Pooling::Last,
            Some(4) => return Err(LoadError::Reranker(self.path.clone())),
            _ if encoder => Pooling::Mean,
            _ if causal => return Ok(None),
            _ => return Err(LoadError::NotGenerative(self.path.clone())),
        };
        Ok(Some(EmbeddingKind { pooling, causal }))
    }

    /// The matrices, which adapters change.
    pub(crate) fn matrices(&self) -> HashMap<String, MatrixSize> {
        let tensors = self.headers.iter().flat_map(|header| &header.tensors);
        let matrix = |tensor: &remora_gguf::Tensor| {
            tensor.matrix().map(|[inputs, outputs]| (tensor.name.clone(), MatrixSize { inputs, outputs }))
        };
        tensors.filter_map(matrix).collect()
    }
}

/// The layer that a tensor belongs to: `blk.7.attn_q.weight` is of layer 7.
fn layer_of(name: &str) -> Option<u64> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}

fn read_header(path: &Path) -> Result<(File, Header), LoadError> {
    let unreadable = |source: std::io::Error| match source.kind() {
        ErrorKind::NotFound => LoadError::Missing(path.to_owned()),
        _ => LoadError::Unreadable { path: path.to_owned(), source },
    };
    let mut file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(LoadError::Folder(path.to_owned()));
    }
    // Before anything else, since a pipe can be read but not looked around in.
    let mut magic = [0; 4];
    match file.read_exact(&mut magic) {
        Ok(()) if &magic == remora_gguf::MAGIC => {}
        Ok(()) => return Err(LoadError::NotGguf(path.to_owned())),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(LoadError::NotGguf(path.to_owned())),
        Err(error) => return Err(unreadable(error)),
    }
    match remora_gguf::read(&mut file) {
        Ok(header) => Ok((file, header)),
        Err(GgufError::Io(error)) => Err(unreadable(error)),
        Err(source) => Err(LoadError::Broken { path: path.to_owned(), source }),
    }
}

/// The other files of a split model: `m-00001-of-00003.gguf` has two.
fn parts(first: &Path, header: &Header) -> Result<Vec<PathBuf>, LoadError> {
    let count = match header.get("split.count") {
        Some(&Value::U16(count)) if count > 1 => count,
        _ => return Ok(Vec::new()),
    };
    let broken = |key: &str, reason: String| LoadError::Broken {
        path: first.to_owned(),
        source: GgufError::Key { key: key.into(), reason },
    };
    if count > MAX_PARTS {
        return Err(broken("split.count", format!("{count} files are too many")));
    }
    if header.get("split.no") != Some(&Value::U16(0)) {
        return Err(broken("split.no", format!("this is not the first of the model's {count} files: give that one")));
    }
    let name = first.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let own = format!("-00001-of-{count:05}.gguf");
    let Some(stem) = name.strip_suffix(&own) else {
        let reason = format!("a model of {count} files, whose first must be called *{own}");
        return Err(broken("split.count", reason));
    };
    Ok((2..=count).map(|number| first.with_file_name(format!("{stem}-{number:05}-of-{count:05}.gguf"))).collect())
}
