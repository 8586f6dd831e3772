//! How the engine is started, and how much it takes of the machine.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use remora_service::Listen;

use crate::llama::{KvType, MAX_SLOTS};
use crate::output::ToolParser;

/// Most tokens in one step: long enough for prompts to be read fast, short enough that others hardly wait.
const BATCH: u32 = 512;
/// Adapters that are held without being asked for more. vLLM's `--max-loras` is 1, but bounds a batch and not what is
/// loaded; an adapter takes some megabytes here.
const MAX_LORAS: usize = 16;
/// vLLM's default.
const MAX_LORA_RANK: u32 = 16;

/// Environment that a supervisor should start `remora engine` with. All are read before `main`, so the engine cannot set
/// them itself: threads that wait must not spin (with spinning, two threads on two busy cores are ten times slower than
/// one), a debugger must not be attached when llama.cpp gives up, and glibc must not keep a heap for every thread that
/// ever read a huge request (with eight of them 830 MiB stay, with two 500).
pub const ENVIRONMENT: [(&str, &str); 3] =
    [("OMP_WAIT_POLICY", "passive"), ("GGML_NO_BACKTRACE", "1"), ("MALLOC_ARENA_MAX", "2")];

/// How many of a model's layers a GPU computes, the last ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuLayers {
    /// All of them, and the output.
    All,
    /// So many.
    Count(u32),
}

impl GpuLayers {
    /// Whether this program was built to use a GPU.
    pub(crate) const AVAILABLE: bool =
        cfg!(any(feature = "cuda", feature = "vulkan", feature = "metal", feature = "rocm"));

    /// As llama.cpp counts them.
    pub(crate) fn count(self) -> u32 {
        match self {
            Self::All => u32::try_from(i32::MAX).unwrap_or_default(),
            Self::Count(count) => count,
        }
    }
}

impl FromStr for GpuLayers {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // llama.cpp's own type is signed.
        if text == "all" { Ok(Self::All) } else { text.parse::<u16>().map(|count| Self::Count(count.into())) }
    }
}

/// Arguments of `remora engine`.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct EngineArgs {
    /// The model: a GGUF file
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes any free one
    #[arg(long, default_value_t = 8104)]
    pub port: u16,
    /// Unix socket to listen on, instead of host and port
    #[arg(long, value_name = "PATH", conflicts_with_all = ["host", "port"])]
    pub uds: Option<PathBuf>,
    /// Name that requests call the model by; may be given several times [default: the file's name without its ending]
    #[arg(long, value_name = "NAME")]
    pub served_model_name: Vec<String>,
    /// Longest prompt and answer together, in tokens [default: what the model was trained on, at most 8192, less where
    /// memory is short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(16..))]
    pub ctx: Option<u32>,
    /// Requests that are answered at the same time; each has its own context [default: 4, 16 for small models, less
    /// where memory is short]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SLOTS)))]
    pub slots: Option<u32>,
    /// Threads that compute [default: 1 for small models, else what is fastest when the model is loaded]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=512))]
    pub threads: Option<u32>,
    /// Most tokens in one step: longer ones read prompts faster, shorter ones keep other answers flowing
    #[arg(long, value_name = "N", default_value_t = BATCH, value_parser = clap::value_parser!(u32).range(16..=16384))]
    pub batch: u32,
    /// How keys and values of past tokens are kept; smaller ones make room for more context
    #[arg(long, value_name = "TYPE", value_enum, default_value_t)]
    pub kv_type: KvType,
    /// Layers that a GPU computes, or 'all'; for builds with GPU support [default: all in such a build, else none]
    #[arg(long, value_name = "N|all")]
    pub gpu_layers: Option<GpuLayers>,
    /// Load the model even where its memory is not there
    #[arg(long)]
    pub force: bool,
    /// Requests that may wait for a slot; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub max_queue: usize,
    /// Adapters that may be loaded at the same time
    #[arg(long, value_name = "N", default_value_t = MAX_LORAS)]
    pub max_loras: usize,
    /// Highest rank of an adapter
    #[arg(long, value_name = "N", default_value_t = MAX_LORA_RANK, value_parser = clap::value_parser!(u32).range(1..=512))]
    pub max_lora_rank: u32,
    /// How the model writes tool calls [default: as its chat template shows]
    #[arg(long, alias = "tool-call-parser", value_name = "FORMAT")]
    pub tool_parser: Option<ToolParser>,
    /// Stop when standard input ends, so that the engine never outlives the process that started it
    #[arg(long)]
    pub lifeline: bool,
}

impl EngineArgs {
    /// Where to listen.
    #[must_use]
    pub fn listen(&self) -> Listen {
        match &self.uds {
            Some(path) => Listen::Unix(path.clone()),
            None => Listen::Tcp((self.host, self.port).into()),
        }
    }
}

/// What the engine itself needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineConfig {
    /// The GGUF file.
    pub model: PathBuf,
    /// Names that requests call it by; the first is the one in answers.
    pub names: Vec<String>,
    /// Longest prompt and answer together, in tokens; none takes what the model was trained on, at most 8192, and what
    /// fits in memory.
    pub context: Option<u32>,
    /// Requests that are answered at the same time; none chooses by the model's size and the memory.
    pub slots: Option<u32>,
    /// Threads that compute; none measures.
    pub threads: Option<u32>,
    /// Most tokens in one step.
    pub batch: u32,
    /// How keys and values of past tokens are kept.
    pub kv_type: KvType,
    /// Layers that a GPU computes; none takes all that there are, in a build that can.
    pub gpu_layers: Option<GpuLayers>,
    /// Loads the model even where its memory is not there.
    pub force: bool,
    /// Requests that may wait for a slot.
    pub max_queue: usize,
    /// Adapters that may be loaded at the same time; all of them are in memory.
    pub max_loras: usize,
    /// Highest rank of an adapter.
    pub max_lora_rank: u32,
    /// How the model writes tool calls; none reads it off its chat template.
    pub tool_parser: Option<ToolParser>,
}

impl EngineConfig {
    /// A configuration with every default. A GGUF file is a model whose name is the file's stem.
    #[must_use]
    pub fn new(model: impl Into<PathBuf>) -> Self {
        let model = model.into();
        let name = model.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self {
            model,
            names: vec![name],
            context: None,
            slots: None,
            threads: None,
            batch: BATCH,
            kv_type: KvType::default(),
            gpu_layers: None,
            force: false,
            max_queue: 1024,
            max_loras: MAX_LORAS,
            max_lora_rank: MAX_LORA_RANK,
            tool_parser: None,
        }
    }

    /// Layers that go to a GPU.
    pub(crate) fn gpu_layers(&self) -> GpuLayers {
        let all = if GpuLayers::AVAILABLE { GpuLayers::All } else { GpuLayers::Count(0) };
        self.gpu_layers.unwrap_or(all)
    }
}

impl From<&EngineArgs> for EngineConfig {
    fn from(args: &EngineArgs) -> Self {
        let defaults = Self::new(&args.model);
        Self {
            names: if args.served_model_name.is_empty() { defaults.names } else { args.served_model_name.clone() },
            context: args.ctx,
            slots: args.slots,
            threads: args.threads,
            batch: args.batch,
            kv_type: args.kv_type,
            gpu_layers: args.gpu_layers,
            force: args.force,
            max_queue: args.max_queue.max(1),
            max_loras: args.max_loras,
            max_lora_rank: args.max_lora_rank,
            tool_parser: args.tool_parser,
            model: defaults.model,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: EngineArgs,
    }

    fn parse(line: &str) -> Result<EngineArgs, clap::Error> {
        Command::try_parse_from(format!("engine {line}").split_whitespace()).map(|command| command.args)
    }

    #[test]
    fn a_model_is_called_by_its_file() {
        let args = parse("--model /m/qwen-2.5.Q8_0.gguf").unwrap();
        let config = EngineConfig::from(&args);
        assert_eq!((config.names, config.max_queue), (vec!["qwen-2.5.Q8_0".to_owned()], 1024));
        assert_eq!(args.listen().to_string(), "127.0.0.1:8104");
        let args = parse("--model m.gguf --served-model-name a --served-model-name b --uds /run/e.sock").unwrap();
        assert_eq!(EngineConfig::from(&args).names, ["a", "b"]);
        assert_eq!(args.listen().to_string(), "unix:/run/e.sock");
    }

    #[test]
    fn the_format_of_calls_goes_by_vllm_s_names() {
        let parser = |line: &str| parse(&format!("--model m.gguf {line}")).map(|args| args.tool_parser);
        assert_eq!(parser("").unwrap(), None);
        for (name, expected) in [
            ("hermes", ToolParser::Hermes),
            ("llama3_json", ToolParser::Llama3Json),
            ("mistral", ToolParser::Mistral),
            ("functiongemma", ToolParser::FunctionGemma),
            ("none", ToolParser::None),
        ] {
            assert_eq!(parser(&format!("--tool-parser {name}")).unwrap(), Some(expected));
        }
        assert!(parser("--tool-call-parser pythonic").is_err());
    }

    #[test]
    fn layers_of_a_gpu_are_counted_or_all() {
        let layers = |line: &str| parse(&format!("--model m.gguf {line}")).unwrap().gpu_layers;
        assert_eq!(layers(""), None);
        assert_eq!(layers("--gpu-layers all"), Some(GpuLayers::All));
        assert_eq!(layers("--gpu-layers 12"), Some(GpuLayers::Count(12)));
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for line in [
            "--batch 1",
            "--kv-type q2_k",
            "--gpu-layers some",
            "--gpu-layers -1",
            "--slots 0",
            "--slots 257",
            "--ctx 1",
            "--threads 0",
            "--uds /s --port 1",
        ] {
            assert!(parse(&format!("--model m.gguf {line}")).is_err(), "{line}");
        }
    }
}
