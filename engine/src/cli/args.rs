//! The command line of `exo-node`, as typed: nothing is looked up or opened here.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use bytesize::ByteSize;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use exo_engine::{
    cluster::{ByHand, Chip, Goal},
    fabric::InterfaceChoice,
    layers::LayerRange,
    node::{EncryptChoice, LISTEN_PORT, TrustChoice, WeightsChoice},
};

/// Run one large language model across the machines that are there.
#[derive(Debug, Parser)]
#[command(
    name = "exo-node",
    version,
    about,
    arg_required_else_help = true,
    after_help = "\
Examples:
  exo-node models import SmolLM2.gguf --name smollm2     a model folder out of a GGUF file
  exo-node serve --model smollm2 --nodes 2               on both machines: the model over the cable
  exo-node run smollm2 \"What is the capital of France?\"  ask it"
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join the cluster, hold a part of the model, answer the HTTP API
    #[command(after_help = "\
Examples:
  exo-node serve --model smollm2                        alone, or with whoever is on the cable
  exo-node serve --model smollm2 --nodes 2 --memory 8GiB
  exo-node serve --interface lo --cluster-key-file key  off the cable a key is needed; make one with
                                                        (umask 077; openssl rand -hex 32 > key)")]
    Serve(Box<ServeArgs>),
    /// Chat with a model in the terminal
    #[command(after_help = "\
Attaches to the node that serves at --api, else starts one with MODEL for as long as it is needed.

Examples:
  exo-node run smollm2                                   a chat; /exit or Ctrl-D ends it
  exo-node run smollm2 \"What is the capital of France?\"  one answer")]
    Run(Box<RunArgs>),
    /// Show nodes, layers and links of the cluster
    #[command(after_help = "\
Examples:
  exo-node status
  exo-node status --json | jq '.nodes[].layers'")]
    Status(StatusArgs),
    /// Say which machine would hold which layers of a model, without starting anything
    #[command(after_help = "\
Examples:
  exo-node plan qwen2.5-coder:32b                       on the nodes that serve now, else here
  exo-node plan llama3.3:70b --node mini=64GiB,chip=m4-pro --node air=16GiB,chip=m2
  exo-node plan llama3.3:70b --node mini=64GiB,chip=m4-pro --node air=16GiB,chip=m2 --all-nodes
  exo-node plan smollm2 --memory mini:48GiB,air:12GiB   what each offers, and no more about them")]
    Plan(Box<PlanArgs>),
    /// List, fetch, import and remove models on this machine
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Print the completion script of a shell
    #[command(after_help = "\
Example:
  exo-node completions zsh > ~/.zfunc/_exo-node")]
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The model to serve: a name from `models ls`, a folder, or what `models pull` takes
    #[arg(long, value_name = "NAME|DIR")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) node: NodeArgs,
    /// Where the HTTP API listens
    #[arg(long, value_name = "ADDR:PORT", default_value = DEFAULT_API_LISTEN)]
    pub(crate) api: SocketAddr,
    /// Key that clients of the API must send; needed wherever --api is not a loopback address
    #[arg(long, value_name = "KEY", env = "EXO_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
}

/// What a node is, whoever starts it.
#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// The interface to the other nodes; auto takes a validated Thunderbolt link and nothing else
    #[arg(long, value_name = "NAME|auto", default_value = "auto")]
    pub(crate) interface: InterfaceChoice,
    /// TCP port for other nodes; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = LISTEN_PORT)]
    pub(crate) listen: u16,
    /// A node to connect to, beside those found on the link; may be repeated
    #[arg(long = "peer", value_name = "HOST:PORT")]
    pub(crate) peers: Vec<String>,
    /// Neither announce this node on the link nor look for others there
    #[arg(long)]
    pub(crate) no_discovery: bool,
    /// This node's name [default: the host's]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Memory to offer for weights and caches [default: three quarters of what is there]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<ByteSize>,
    /// How quantised weights lie in memory; auto makes them dense on a CPU if they fit so
    #[arg(long, value_enum, default_value_t)]
    pub(crate) weights: WeightsChoice,
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,
    /// Let a node that comes take its share of a model that runs, while requests go on
    #[arg(long)]
    pub(crate) rebalance: bool,
    /// File with the cluster's key: 64 hexadecimal digits, mode 0600
    #[arg(long, value_name = "FILE", env = "EXO_CLUSTER_KEY_FILE")]
    pub(crate) cluster_key_file: Option<PathBuf>,
    /// Whom to believe on a Thunderbolt link without a cluster key
    #[arg(long, value_enum, default_value_t)]
    pub(crate) trust: TrustChoice,
    /// Whether frames between nodes are encrypted; auto does so off the cable
    #[arg(long, value_enum, default_value_t)]
    pub(crate) encrypt: EncryptChoice,
    /// At most so many requests advance in one step of the first node
    #[arg(long, value_name = "N", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) step_sequences: u32,
    /// While a prompt is being read, the tokens of other requests may take so many times as long as
    /// usual; more reads prompts faster
    #[arg(long, value_name = "TIMES", default_value_t = 3.0, value_parser = token_delay)]
    pub(crate) token_delay: f64,
    /// Never ask the hub: a model that is not on this machine is an error
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// Over which nodes a model is laid.
#[derive(Debug, Args)]
pub(crate) struct PlacementArgs {
    /// Wait for exactly N nodes and lay the model over all of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..),
          conflicts_with = "all_nodes")]
    pub(crate) nodes: Option<u32>,
    /// Lay the model over all nodes that are there, not over the fewest that hold it
    #[arg(long)]
    pub(crate) all_nodes: bool,
    /// Which nodes, and how many layers each: the fewest, as full as each other; or, by what was
    /// measured, the least time for a token, or the most tokens of many requests
    #[arg(long, value_name = "GOAL", value_enum, default_value_t)]
    pub(crate) place: Goal,
    /// Give the layers out by hand, as in mini=0-20,air=21-31
    #[arg(long, value_name = "NODE=FIRST-LAST,…",
          conflicts_with_all = ["nodes", "all_nodes", "place"])]
    pub(crate) layers: Option<ByHand>,
}

#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Folder of models and keys [default: the user's data folder]
    #[arg(long, value_name = "DIR", env = "EXO_DATA")]
    pub(crate) data: Option<PathBuf>,
}

/// Where a serving node is asked.
#[derive(Debug, Args)]
pub(crate) struct ApiArgs {
    /// The API of the node to ask; without a scheme it is http
    #[arg(long, value_name = "URL", default_value = DEFAULT_API_URL, value_parser = api_url)]
    pub(crate) api: String,
    /// The key it wants
    #[arg(long, value_name = "KEY", env = "EXO_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The model: a name from `models ls`, a folder, or what `models pull` takes
    pub(crate) model: String,
    /// What to ask; without it, a chat begins
    pub(crate) prompt: Option<String>,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// At most so many tokens per answer [default: what the context allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_tokens: Option<u32>,
    /// 0 takes the likeliest token each time; up to 2
    #[arg(long, value_name = "T", default_value_t = 0.7)]
    pub(crate) temperature: f32,
    #[command(flatten, next_help_heading = "If no node serves yet")]
    pub(crate) node: NodeArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    /// Print what GET /v1/cluster answers
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The model: a name from `models ls` or `models ls --known`, or a folder
    pub(crate) model: String,
    /// A machine as it is bought: its memory, of which a node offers three quarters unless told
    /// otherwise, and its chip, which says how fast it may be; may be repeated
    #[arg(
        long = "node",
        value_name = "NAME=SIZE[,chip=CHIP][,offers=SIZE]",
        conflicts_with = "memory"
    )]
    pub(crate) described: Vec<DescribedNode>,
    /// The machines and what each offers
    #[arg(long, value_name = "NAME:SIZE,…", value_delimiter = ',', value_parser = named_memory)]
    pub(crate) memory: Vec<(String, ByteSize)>,
    /// What lies between machines that are only described
    #[arg(long, value_enum, default_value_t)]
    pub(crate) link: AssumedLink,
    /// How quantised weights lie in memory, as for `serve`
    #[arg(long, value_enum, default_value_t)]
    pub(crate) weights: WeightsChoice,
    #[command(flatten)]
    pub(crate) placement: PlacementArgs,
    /// Print a JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) api: ApiArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// A machine that is only described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DescribedNode {
    pub(crate) name: String,
    /// Bytes of memory it has.
    pub(crate) memory: ByteSize,
    /// Bytes it offers, if not three quarters.
    pub(crate) offers: Option<ByteSize>,
    pub(crate) chip: Option<Chip>,
}

impl FromStr for DescribedNode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split(',');
        let (name, size) = parts.next().and_then(|first| first.split_once('=')).ok_or(
            "a machine is NAME=SIZE, and then what is known of it: mini=64GiB,chip=m4-pro",
        )?;
        if name.is_empty() {
            return Err("a machine needs a name, as in mini=64GiB".to_owned());
        }
        let mut node =
            Self { name: name.to_owned(), memory: memory(size)?, offers: None, chip: None };
        for part in parts {
            match part.split_once('=') {
                Some(("chip", chip)) => node.chip = Some(chip.parse()?),
                Some(("offers", size)) => node.offers = Some(memory(size)?),
                _ => return Err(format!("{part} is neither chip=CHIP nor offers=SIZE")),
            }
        }
        Ok(node)
    }
}

/// What lies between two machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum AssumedLink {
    /// A Thunderbolt cable: 0.3 ms there and back, 16 Gb/s
    #[default]
    Thunderbolt,
    /// 0.4 ms there and back, 1 Gb/s
    Ethernet,
    /// 8 ms there and back, 0.5 Gb/s
    Wifi,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelsCommand {
    /// List the models on this machine
    Ls {
        /// Print them as a JSON array
        #[arg(long)]
        json: bool,
        /// List the models that are known by name, and what they need, instead
        #[arg(long, conflicts_with = "json")]
        known: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Fetch a model from the hub
    #[command(after_help = "\
Goes on where an earlier try was cut off. HF_ENDPOINT names another hub, HF_TOKEN an access token.

Examples:
  exo-node models pull llama3.2:3b
  exo-node models pull mlx-community/Qwen3-8B-4bit
  exo-node models pull llama3.3:70b --layers 0..40       only what a node with these layers needs
  exo-node models pull llama3.3:70b --memory 80GiB       several machines offer that together")]
    Pull(PullArgs),
    /// Turn a GGUF file into a model folder
    #[command(after_help = "\
Example:
  exo-node models import SmolLM2-135M-Instruct.gguf --name smollm2")]
    Import(ImportArgs),
    /// Remove a model from this machine
    Rm {
        /// Its name, as `models ls` shows it
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// A name from `models ls --known`, or a repository of the hub as OWNER/NAME
    pub(crate) model: String,
    /// What to call it [default: its name, or OWNER--NAME]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Only the tensors that a node with these layers needs
    #[arg(long, value_name = "START..END", value_parser = layers)]
    pub(crate) layers: Option<LayerRange>,
    /// Memory that it has to fit into [default: what this machine offers]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub(crate) memory: Option<ByteSize>,
    /// Branch, tag or commit
    #[arg(long, value_name = "REVISION", default_value = "main")]
    pub(crate) revision: String,
    /// Replace a model of the same name
    #[arg(long)]
    pub(crate) replace: bool,
    /// Never ask the hub: only say whether the model is on this machine
    #[arg(long)]
    pub(crate) offline: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The GGUF file
    pub(crate) file: PathBuf,
    /// What to call the model [default: the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Type of the weights written
    #[arg(long, value_enum, default_value_t)]
    pub(crate) dtype: DtypeChoice,
    /// Replace a model of the same name
    #[arg(long)]
    pub(crate) replace: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// A type that weights can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum DtypeChoice {
    #[default]
    F32,
    F16,
    Bf16,
    /// As the file has them, in codes of MLX's (Q6_K in 8 bits)
    Stored,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Where `serve` listens and the other commands look, unless told otherwise.
const DEFAULT_API_LISTEN: &str = "127.0.0.1:52415";
const DEFAULT_API_URL: &str = "http://127.0.0.1:52415";

fn api_url(text: &str) -> Result<String, String> {
    match text.split_once("://") {
        None if !text.is_empty() => Ok(format!("http://{text}")),
        Some(("http" | "https", rest)) if !rest.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("an API is an address, such as {DEFAULT_API_LISTEN}")),
    }
}

fn token_delay(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(times) if times > 1.0 && times.is_finite() => Ok(times),
        _ => Err("tokens can take more than 1 times as long, such as 2 or 3.5".to_owned()),
    }
}

fn memory(text: &str) -> Result<ByteSize, String> {
    match text.parse::<ByteSize>() {
        Ok(ByteSize(0)) => Err("a node has to offer some memory".to_owned()),
        Ok(size) => Ok(size),
        Err(_) => Err("a size is a number and a unit, such as 8GiB or 512MiB".to_owned()),
    }
}

fn layers(text: &str) -> Result<LayerRange, String> {
    let ends = text
        .split_once("..")
        .and_then(|(start, end)| Some((start.parse().ok()?, end.parse().ok()?)));
    match ends {
        Some((start, end)) => LayerRange::checked(start, end).map_err(|error| error.to_string()),
        None => Err("layers are START..END, such as 0..14: the end is not one of them".to_owned()),
    }
}

fn named_memory(text: &str) -> Result<(String, ByteSize), String> {
    match text.rsplit_once(':') {
        Some((name, size)) if !name.is_empty() => Ok((name.to_owned(), memory(size)?)),
        _ => Err("a machine is NAME:SIZE, such as air:16GiB".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_what_the_design_promises() {
        let cli = Cli::try_parse_from([
            "exo-node",
            "serve",
            "--interface",
            "lo",
            "--listen",
            "0",
            "--peer",
            "10.0.0.2:52416",
            "--peer",
            "air.local:52416",
            "--no-discovery",
            "--name",
            "mini",
            "--memory",
            "8GiB",
            "--model",
            "smollm2",
            "--nodes",
            "2",
            "--api",
            "127.0.0.1:0",
            "--api-key",
            "k",
            "--data",
            "/tmp/d",
            "--cluster-key-file",
            "/tmp/k",
            "--trust",
            "pinned",
            "--encrypt",
            "on",
        ])
        .unwrap();
        let Command::Serve(args) = cli.command else { panic!("not serve") };
        assert_eq!(args.node.memory, Some(ByteSize(8 << 30)));
        assert_eq!(args.node.peers, ["10.0.0.2:52416", "air.local:52416"]);
        assert_eq!((args.node.trust, args.node.encrypt), (TrustChoice::Pinned, EncryptChoice::On));
    }

    #[test]
    fn what_contradicts_itself_or_means_nothing_is_refused() {
        for bad in [
            &["exo-node", "serve", "--nodes", "2", "--all-nodes"][..],
            &["exo-node", "serve", "--nodes", "0"],
            &["exo-node", "serve", "--memory", "0"],
            &["exo-node", "serve", "--memory", "lots"],
            &["exo-node", "serve", "--api", "localhost"],
            &["exo-node", "status", "--api", "ftp://127.0.0.1:1"],
            &["exo-node", "status", "--api", ""],
            &["exo-node", "plan", "m", "--memory", "64GiB"],
            &["exo-node", "plan", "m", "--node", "64GiB"],
            &["exo-node", "plan", "m", "--node", "mini=64GiB,chip=z80"],
            &["exo-node", "plan", "m", "--node", "mini=64GiB,cores=8"],
            &["exo-node", "plan", "m", "--node", "a=1GiB", "--memory", "b:1GiB"],
            &["exo-node", "serve", "--place", "luck"],
            &["exo-node", "serve", "--layers", "mini=0-20", "--all-nodes"],
            &["exo-node", "serve", "--layers", "mini=9-3"],
            &["exo-node", "models", "pull", "m", "--layers", "3..3"],
            &["exo-node", "models", "pull", "m", "--layers", "3"],
        ] {
            assert!(Cli::try_parse_from(bad).is_err(), "{bad:?}");
        }
    }
}
