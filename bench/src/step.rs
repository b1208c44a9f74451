//! Of a decode step, how much is this program's own time and how much MLX's? And how long does
//! loading take?

use std::{
    path::Path,
    time::{Duration, Instant},
};

use exo_engine::{
    layers::LayerRange,
    model::{ModelConfig, Transformer},
    nn::{KvCache, Sequence},
    weights::{ModelFolder, Precision, ShardReader, TensorReader, WeightsChoice},
};

/// Steps that are not counted: the first ones find caches cold.
const WARM_UP: i32 = 8;

/// A whole model in memory, without a node around it.
pub(crate) struct Bare {
    model: Transformer,
}

impl Bare {
    /// Loads it; says how many seconds that took.
    pub(crate) fn load(dir: &Path) -> anyhow::Result<(Self, f64)> {
        let begun = Instant::now();
        let folder = ModelFolder::open(dir)?;
        let config = ModelConfig::from_json(folder.config())?;
        let precision = Precision::of(folder.config(), WeightsChoice::Auto, true);
        let reader = TensorReader::new();
        let tensors = ShardReader::new(&folder, &reader, precision, &|_| {})?;
        let all = LayerRange::checked(0, config.layers)?;
        let model = Transformer::load(&config, all, &tensors)?;
        Ok((Self { model }, begun.elapsed().as_secs_f64()))
    }

    /// The share of a decode step's time, in percent, in which MLX has not been asked yet: building
    /// the step's graph.
    pub(crate) fn host_percent(&self, steps: i32) -> anyhow::Result<f64> {
        let mut caches: Vec<KvCache> = self.model.caches();
        let (mut host, mut all) = (Duration::ZERO, Duration::ZERO);
        for position in 0..WARM_UP + steps {
            let begun = Instant::now();
            let x = self.model.embed(&[500])?;
            let sequences = vec![Sequence { rows: 1, position }];
            let x = self.model.forward(x, sequences, &mut [caches.as_mut_slice()], None)?;
            let logits = self.model.logits(&x)?;
            let built = begun.elapsed();
            logits.eval()?;
            if position >= WARM_UP {
                host += built;
                all += begun.elapsed();
            }
        }
        Ok(100.0 * host.as_secs_f64() / all.as_secs_f64())
    }
}
