//! GGUF files made for tests: a llama of one layer with a byte vocabulary, right or with a lie.

use half::f16;

use crate::prompt::testing::tokenizer;

pub(super) const HIDDEN: usize = 32;
pub(super) const HEADS: usize = 4;
pub(super) const HEAD_DIM: usize = 8;
pub(super) const VOCAB: usize = 260;

/// One tensor as it is written: dimensions innermost first.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dims: Vec<u64>,
    pub(super) code: u32,
    pub(super) data: Vec<u8>,
    /// Written instead of where the data is.
    pub(super) offset: Option<u64>,
}

/// A file to be.
pub(super) struct Builder {
    pub(super) version: u32,
    keys: Vec<(String, Vec<u8>)>,
    pub(super) tensors: Vec<Tensor>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Builder {
    /// A file that says nothing but its architecture.
    pub(super) fn new(architecture: &str) -> Self {
        let mut file = Self { version: 3, keys: Vec::new(), tensors: Vec::new() };
        file.set_text("general.architecture", architecture);
        file
    }

    pub(super) fn set(&mut self, key: &str, kind: u32, value: &[u8]) {
        self.keys.retain(|(known, _)| known != key);
        self.keys.push((key.to_owned(), [&kind.to_le_bytes()[..], value].concat()));
    }

    pub(super) fn set_u32(&mut self, key: &str, value: u32) {
        self.set(key, 4, &value.to_le_bytes());
    }

    pub(super) fn set_text(&mut self, key: &str, value: &str) {
        self.set(key, 8, &text(value));
    }

    pub(super) fn set_array(&mut self, key: &str, kind: u32, count: usize, values: &[u8]) {
        let head = [&kind.to_le_bytes()[..], &(count as u64).to_le_bytes()].concat();
        self.set(key, 9, &[&head[..], values].concat());
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.keys.retain(|(known, _)| known != key);
    }

    pub(super) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name).expect("there is such a tensor")
    }

    /// Takes a tensor out.
    pub(super) fn take(&mut self, name: &str) -> Tensor {
        let at = self.tensors.iter().position(|tensor| tensor.name == name);
        self.tensors.remove(at.expect("there is such a tensor"))
    }

    pub(super) fn add(&mut self, name: &str, dims: &[usize], code: u32, data: Vec<u8>) {
        let dims = dims.iter().map(|&dim| dim as u64).collect();
        self.tensors.push(Tensor { name: name.to_owned(), dims, code, data, offset: None });
    }

    /// An f32 tensor that counts from `from` on in eighths.
    pub(super) fn add_f32(&mut self, name: &str, dims: &[usize], from: f32) {
        let count: usize = dims.iter().product();
        let data = (0..count).flat_map(|n| (from + n as f32 / 8.0).to_le_bytes()).collect();
        self.add(name, dims, 0, data);
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend((self.tensors.len() as u64).to_le_bytes());
        out.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            out.extend(text(key));
            out.extend(value);
        }
        let mut at = 0_u64;
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend((tensor.dims.len() as u32).to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.code.to_le_bytes());
            out.extend(tensor.offset.unwrap_or(at).to_le_bytes());
            at += (tensor.data.len() as u64).next_multiple_of(32);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(32), 0);
            out.extend(&tensor.data);
        }
        out
    }
}

/// A file with nothing wrong: tied embeddings in Q8_0, q in f32, v in f16, the rest in Q4_1.
pub(super) fn llama() -> Builder {
    let mut file = Builder::new("llama");
    for (key, value) in [
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", HIDDEN as u32),
        ("feed_forward_length", 64),
        ("attention.head_count", HEADS as u32),
        ("attention.head_count_kv", 2),
        ("rope.dimension_count", HEAD_DIM as u32),
    ] {
        file.set_u32(&format!("llama.{key}"), value);
    }
    file.set("llama.attention.layer_norm_rms_epsilon", 6, &1e-5_f32.to_le_bytes());
    file.set("llama.rope.freq_base", 6, &1e5_f32.to_le_bytes());
    add_tokenizer(&mut file);

    let blocks = |bytes: usize, numbers: usize| -> Vec<u8> {
        (0..numbers / 32)
            .flat_map(|n| {
                let scale = f16::from_f32(0.25 + n as f32 / 1024.0).to_le_bytes();
                // Small first codes: for Q4_1 they are the offset, and no NaN.
                scale.into_iter().chain((2..bytes).map(move |i| (i * 7 + n) as u8 & 0x3b))
            })
            .collect()
    };
    file.add("token_embd.weight", &[HIDDEN, VOCAB], 8, blocks(34, HIDDEN * VOCAB));
    file.add_f32("blk.0.attn_norm.weight", &[HIDDEN], 1.0);
    file.add_f32("blk.0.attn_q.weight", &[HIDDEN, 32], 0.0);
    file.add("blk.0.attn_k.weight", &[HIDDEN, 16], 3, blocks(20, HIDDEN * 16));
    let halves = (0..HIDDEN * 16).flat_map(|n| f16::from_f32(n as f32).to_le_bytes()).collect();
    file.add("blk.0.attn_v.weight", &[HIDDEN, 16], 1, halves);
    file.add("blk.0.attn_output.weight", &[32, HIDDEN], 3, blocks(20, 32 * HIDDEN));
    file.add_f32("blk.0.ffn_norm.weight", &[HIDDEN], 2.0);
    file.add("blk.0.ffn_gate.weight", &[HIDDEN, 64], 3, blocks(20, HIDDEN * 64));
    file.add("blk.0.ffn_up.weight", &[HIDDEN, 64], 3, blocks(20, HIDDEN * 64));
    file.add("blk.0.ffn_down.weight", &[64, HIDDEN], 3, blocks(20, 64 * HIDDEN));
    file.add_f32("output_norm.weight", &[HIDDEN], 3.0);
    file
}

/// 256 bytes, `<s>`, `</s>` (control), `<tool>` (user defined) and a row that no token has.
pub(super) fn add_tokenizer(file: &mut Builder) {
    let bytes = tokenizer();
    let mut tokens: Vec<(u64, String)> = bytes["model"]["vocab"]
        .as_object()
        .expect("a vocabulary")
        .iter()
        .map(|(token, id)| (id.as_u64().expect("an id"), token.clone()))
        .collect();
    tokens.extend((256..).zip(["<s>", "</s>", "<tool>", "[PAD259]"].map(str::to_owned)));
    tokens.sort();
    let texts: Vec<u8> = tokens.iter().flat_map(|(_, token)| text(token)).collect();
    let mut types = vec![1_i32; 256];
    types.extend([3, 3, 4, 5]);
    let types: Vec<u8> = types.iter().flat_map(|kind| kind.to_le_bytes()).collect();
    file.set_text("tokenizer.ggml.model", "gpt2");
    file.set_text("tokenizer.ggml.pre", "smollm");
    file.set_array("tokenizer.ggml.tokens", 8, tokens.len(), &texts);
    file.set_array("tokenizer.ggml.token_type", 5, tokens.len(), &types);
    file.set_array("tokenizer.ggml.merges", 8, 0, &[]);
    file.set_u32("tokenizer.ggml.bos_token_id", 256);
    file.set_u32("tokenizer.ggml.eos_token_id", 257);
    file.set_text("tokenizer.chat_template", "{{ messages[0].content }}");
}
