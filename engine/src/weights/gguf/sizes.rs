//! How large are a model's parts?

use super::{
    family::{Family, Shape},
    file::{GgufError, GgufFile},
    import::ImportError,
    plan::Sources,
};

/// More layers than any model has.
const LAYERS_MAX: usize = 4096;
const EXPERTS_MAX: usize = 1 << 16;
/// A wider model than any, so that no product of two sizes overflows.
const WIDTH_MAX: usize = 1 << 28;

/// A model's sizes.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) head_dim: usize,
    /// Numbers of a head that are turned.
    pub(super) rotary: usize,
    pub(super) intermediate: usize,
    pub(super) experts: usize,
    pub(super) expert_width: usize,
    pub(super) shared_experts: usize,
    /// Layers before this one have no experts, whatever the family has.
    pub(super) first_sparse: usize,
    /// All zero, but where keys and values are compressed.
    pub(super) latent: Latent,
    pub(super) vocab: usize,
    permuted: bool,
}

/// Sizes of compressed keys and values.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latent {
    /// Numbers of a compressed query; 0 if queries are not.
    pub(super) query_rank: usize,
    /// Numbers of a compressed token.
    pub(super) rank: usize,
    /// Numbers of a head that are not turned.
    pub(super) nope: usize,
    /// Numbers of a head's value.
    pub(super) value: usize,
}

/// An architecture's own keys.
#[derive(Clone, Copy)]
struct Keys<'a> {
    file: &'a GgufFile,
    family: &'a Family,
}

impl Keys<'_> {
    fn name(self, key: &str) -> String {
        format!("{}.{key}", self.family.name)
    }

    fn optional(self, key: &str) -> Result<Option<usize>, GgufError> {
        let name = self.name(key);
        match self.file.metadata.optional_size(&name)? {
            Some(size) if size > WIDTH_MAX => {
                Err(GgufError::key(&name, format!("{size}, of {WIDTH_MAX} at most")))
            }
            size => Ok(size),
        }
    }

    fn needed(self, key: &str) -> Result<usize, GgufError> {
        match self.optional(key)? {
            Some(0) => Err(GgufError::key(&self.name(key), "0")),
            Some(size) => Ok(size),
            None => Err(GgufError::key(&self.name(key), "missing")),
        }
    }

    fn at_most(self, key: &str, size: usize, max: usize) -> Result<usize, GgufError> {
        if size > max {
            return Err(GgufError::key(&self.name(key), format!("{size}, of {max} at most")));
        }
        Ok(size)
    }

    /// Refuses the first key that does not agree with the others.
    fn agree(self, heads: usize, of: usize, keys: &[(&str, bool)]) -> Result<(), GgufError> {
        match keys.iter().find(|(_, agrees)| !agrees) {
            None => Ok(()),
            Some((key, _)) => {
                let problem = format!("does not go with {heads} heads of {of}");
                Err(GgufError::key(&self.name(key), problem))
            }
        }
    }
}

impl Sizes {
    pub(super) fn read(
        file: &GgufFile,
        family: &Family,
        sources: &Sources<'_>,
    ) -> Result<Self, ImportError> {
        let keys = Keys { file, family };
        let (hidden, heads) =
            (keys.needed("embedding_length")?, keys.needed("attention.head_count")?);
        let layers = keys.at_most("block_count", keys.needed("block_count")?, LAYERS_MAX)?;
        let experts = keys.optional("expert_count")?.unwrap_or(0);
        let mut sizes = Self {
            hidden,
            intermediate: keys.needed("feed_forward_length")?,
            layers,
            heads,
            kv_heads: keys.optional("attention.head_count_kv")?.unwrap_or(heads),
            head_dim: 0,
            rotary: 0,
            experts: keys.at_most("expert_count", experts, EXPERTS_MAX)?,
            expert_width: keys.optional("expert_feed_forward_length")?.unwrap_or(0),
            shared_experts: keys.optional("expert_shared_count")?.unwrap_or(0),
            first_sparse: keys.optional("leading_dense_block_count")?.unwrap_or(0),
            latent: Latent::default(),
            vocab: sources.get("token_embd.weight").map_or(0, |embedding| embedding.rows()),
            permuted: family.permuted,
        };
        if family.latent {
            sizes.read_latent(keys)?;
        } else {
            sizes.read_heads(keys)?;
        }
        Ok(sizes)
    }

    fn read_heads(&mut self, keys: Keys<'_>) -> Result<(), GgufError> {
        let (heads, kv_heads) = (self.heads, self.kv_heads);
        let head_dim = keys.optional("attention.key_length")?.unwrap_or(self.hidden / heads);
        let rotary = keys.optional("rope.dimension_count")?.unwrap_or(head_dim);
        let value_length = keys.optional("attention.value_length")?;
        let turned = if keys.family.name == "phi3" {
            (2..=head_dim).contains(&rotary) && rotary.is_multiple_of(2)
        } else {
            rotary == head_dim
        };
        (self.head_dim, self.rotary) = (head_dim, rotary);
        keys.agree(
            heads,
            head_dim,
            &[
                ("attention.head_count_kv", kv_heads > 0 && heads.is_multiple_of(kv_heads)),
                ("attention.key_length", head_dim > 0 && head_dim.is_multiple_of(2)),
                ("attention.value_length", value_length.is_none_or(|length| length == head_dim)),
                ("rope.dimension_count", turned),
            ],
        )
    }

    /// Newer files give a head as it is cached (`key_length`: the compressed token and what is
    /// turned) and as it is compared (`key_length_mla`), older ones the latter alone.
    fn read_latent(&mut self, keys: Keys<'_>) -> Result<(), GgufError> {
        let rank = keys.needed("attention.kv_lora_rank")?;
        let rotary = keys.needed("rope.dimension_count")?;
        let either = |new: &str, old: &str| match keys.optional(new)? {
            Some(size) => Ok((new.to_owned(), size)),
            None => Ok::<_, GgufError>((old.to_owned(), keys.needed(old)?)),
        };
        let (key_length, key) = either("attention.key_length_mla", "attention.key_length")?;
        let (value_length, value) = either("attention.value_length_mla", "attention.value_length")?;
        let alike = self.kv_heads == 1 || self.kv_heads == self.heads;
        keys.agree(
            self.heads,
            key,
            &[
                ("attention.head_count_kv", alike),
                ("rope.dimension_count", rotary.is_multiple_of(2)),
                (&key_length, key > rotary),
                (&value_length, value > 0),
            ],
        )?;
        let query_rank = keys.optional("attention.q_lora_rank")?.unwrap_or(0);
        self.latent = Latent { query_rank, rank, nope: key - rotary, value };
        (self.head_dim, self.rotary, self.kv_heads) = (key, rotary, self.heads);
        Ok(())
    }

    /// A tensor's shape; with the rows of a head, if they lie in llama.cpp's order.
    pub(super) fn shape(&self, shape: Shape) -> (Vec<usize>, Option<usize>) {
        let queries = self.heads.saturating_mul(self.head_dim);
        let keys = self.kv_heads.saturating_mul(self.head_dim);
        let (hidden, inner) = (self.hidden, self.intermediate);
        let shared = self.shared_experts.saturating_mul(self.expert_width);
        let Latent { query_rank, rank, nope, value } = self.latent;
        let permuted = self.permuted.then_some(self.head_dim);
        let plain = match shape {
            Shape::Query => return (vec![queries, hidden], permuted),
            Shape::Key => return (vec![keys, hidden], permuted),
            Shape::Hidden => vec![hidden],
            Shape::Head => vec![self.head_dim],
            Shape::Value => vec![keys, hidden],
            Shape::QueryBias => vec![queries],
            Shape::KeyBias => vec![keys],
            Shape::Joined => vec![queries.saturating_add(keys.saturating_mul(2)), hidden],
            Shape::Output => vec![hidden, queries],
            Shape::Up => vec![inner, hidden],
            Shape::GateUp => vec![inner.saturating_mul(2), hidden],
            Shape::Down => vec![hidden, inner],
            Shape::Router => vec![self.experts, hidden],
            Shape::Correction | Shape::RouterBias => vec![self.experts],
            Shape::Sinks => vec![self.heads],
            Shape::ExpertsUpBias => vec![self.experts, self.expert_width],
            Shape::ExpertsDownBias => vec![self.experts, hidden],
            Shape::ExpertsUp => vec![self.experts, self.expert_width, hidden],
            Shape::ExpertsDown => vec![self.experts, hidden, self.expert_width],
            Shape::SharedUp => vec![shared, hidden],
            Shape::SharedDown => vec![hidden, shared],
            Shape::QueryDown => vec![query_rank, hidden],
            Shape::QueryNorm => vec![query_rank],
            Shape::QueryUp => vec![queries, query_rank],
            Shape::LatentDown => vec![rank.saturating_add(self.rotary), hidden],
            Shape::LatentNorm => vec![rank],
            Shape::LatentUp => {
                vec![self.heads.saturating_mul(nope.saturating_add(value)), rank]
            }
            Shape::KeysUp => vec![self.heads, rank, nope],
            Shape::ValuesUp => vec![self.heads, value, rank],
            Shape::LatentOutput => vec![hidden, self.heads.saturating_mul(value)],
        };
        (plain, None)
    }
}
