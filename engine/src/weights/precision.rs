//! In which type does this machine compute, and how do the weights lie in its memory?
//!
//! On a GPU: as the checkpoint has them. On the CPU device MLX accumulates halves in halves, which
//! costs accuracy and an order of magnitude of speed, and multiplies codes several times slower than
//! floats. So there everything is computed in f32, and codes become f32 where memory allows. What is
//! stored in bf16 stays so, where MLX has a product for it (`Precision::keeps_bf16`).

use mlx_rs::{Device, DeviceType, Dtype};
use safetensors::Dtype as TensorDtype;
use serde_json::Value;

use crate::mlx::narrow;

/// How quantised weights lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum WeightsChoice {
    /// On a GPU as stored; on the CPU dense if they fit so, as stored if not.
    #[default]
    Auto,
    /// As floats.
    Dense,
    /// As the folder has them.
    Stored,
}

/// How a stage holds its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Precision {
    /// The type of activations, scales and dense weights.
    pub compute: Dtype,
    /// Whether quantised weights become dense.
    pub dense: bool,
    /// Whether matrices that are stored in bf16 stay so in memory, though f32 is computed in: every
    /// bf16 is an f32 of the same value. Those of experts do not.
    pub keeps_bf16: bool,
}

impl Precision {
    /// Whether a matrix that is stored as `dtype` is held in bf16, as it is. Experts, and what is
    /// multiplied from both sides, are as wide as what is computed.
    pub(crate) fn holds_bf16(self, module: &str, dtype: TensorDtype) -> bool {
        let is_wide = is_expert(module) || module.ends_with(".kv_b_proj");
        self.keeps_bf16 && dtype == TensorDtype::BF16 && !is_wide
    }

    /// Bytes of a number that is computed with.
    #[must_use]
    pub fn number_bytes(self) -> u64 {
        if self.compute == Dtype::Float32 { 4 } else { 2 }
    }

    /// Of a model of this configuration on another machine, that has a GPU.
    #[must_use]
    pub fn on_gpu(config: &Value, choice: WeightsChoice) -> Self {
        let compute = stored(config).unwrap_or(Dtype::Bfloat16);
        Self { compute, dense: choice == WeightsChoice::Dense, keeps_bf16: false }
    }

    /// Of a model of this configuration on this machine; `dense_fits` says whether its weights fit
    /// in memory as floats.
    #[must_use]
    pub fn of(config: &Value, choice: WeightsChoice, dense_fits: bool) -> Self {
        let cpu = is_cpu();
        let compute = match stored(config) {
            _ if cpu => Dtype::Float32,
            Some(stored) => stored,
            None => Dtype::Bfloat16,
        };
        let dense = match choice {
            WeightsChoice::Auto => cpu && dense_fits,
            WeightsChoice::Dense => true,
            WeightsChoice::Stored => false,
        };
        Self { compute, dense, keeps_bf16: cpu && narrow::is_available() }
    }
}

/// Whether a module is one of several of which a token chooses some.
pub(crate) fn is_expert(module: &str) -> bool {
    [".experts", ".switch_mlp"].iter().any(|name| module.contains(name))
}

/// The type that a checkpoint says its weights are in, if it is one that is computed in.
fn stored(config: &Value) -> Option<Dtype> {
    let named = ["torch_dtype", "dtype"].into_iter().find_map(|name| config.get(name));
    match named.and_then(Value::as_str) {
        Some("float16") => Some(Dtype::Float16),
        Some("float32") => Some(Dtype::Float32),
        _ => None,
    }
}

/// Whether MLX computes on the CPU here.
#[must_use]
pub fn is_cpu() -> bool {
    Device::default().get_type().is_ok_and(|device| matches!(device, DeviceType::Cpu))
}
