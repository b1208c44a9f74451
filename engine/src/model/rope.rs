//! Which rotary embedding does a `config.json` ask for?

use serde::Deserialize;
use serde_json::Value;

use super::{
    ConfigError,
    fields::{Fields, unsupported},
};
use crate::nn::{Llama3Scaling, Rope, YarnScaling};

/// `rope_scaling`, or `rope_parameters` as newer files call it.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Scaling {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    pub(super) rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    attention_factor: Option<f64>,
    truncate: Option<bool>,
    short_factor: Option<Vec<f64>>,
    long_factor: Option<Vec<f64>>,
    partial_rotary_factor: Option<f64>,
}

impl Scaling {
    pub(super) fn from_value(value: &Value) -> Result<Self, ConfigError> {
        // Some files say the type twice.
        let mut value = value.clone();
        if let Some(object) = value.as_object_mut()
            && object.contains_key("rope_type")
        {
            object.remove("type");
        }
        Self::deserialize(value).map_err(|error| ConfigError::Invalid {
            field: "rope_scaling",
            problem: error.to_string(),
        })
    }

    fn needed(&self, value: Option<f64>, name: &str) -> Result<f64, ConfigError> {
        let kind = self.rope_type.as_deref().unwrap_or("default");
        let value = value.filter(|value| value.is_finite() && *value > 0.0);
        value.ok_or_else(|| ConfigError::Contradiction(format!("rope `{kind}` without {name}")))
    }

    /// DeepSeek's: what scores are multiplied with beside, for the longer context.
    pub(super) fn score_factor(&self) -> f64 {
        yarn_stretch(self.factor.unwrap_or(1.0), self.mscale_all_dim.unwrap_or(0.0)).powi(2)
    }
}

/// The fields `rope_theta`, `rope_scaling` and `rope_parameters` of a model.
pub(super) fn scaling(fields: &Fields<'_>) -> Result<(f64, Scaling), ConfigError> {
    let theta = fields.maybe::<f64>("rope_theta")?;
    let nested = fields.raw("rope_parameters").map(Scaling::from_value).transpose()?;
    let flat = fields.raw("rope_scaling").map(Scaling::from_value).transpose()?;
    let scaling = flat.or(nested).unwrap_or_default();
    let theta = theta.or(scaling.rope_theta).unwrap_or(10_000.0);
    if !(theta.is_finite() && theta > 1.0) {
        return Err(ConfigError::Contradiction(format!("rope_theta {theta}")));
    }
    Ok((theta, scaling))
}

/// The rotary embedding of a model whose every layer has the same, over `dims` numbers of a head.
pub(super) fn read(fields: &Fields<'_>, dims: i32) -> Result<Rope, ConfigError> {
    let (theta, scaling) = scaling(fields)?;
    let context: f64 = fields.need("max_position_embeddings")?;
    let original = fields.maybe("original_max_position_embeddings")?;
    build(dims, theta, &scaling, context, original)
}

/// The rotary embedding of such a scaling.
pub(super) fn build(
    dims: i32,
    theta: f64,
    scaling: &Scaling,
    context: f64,
    original: Option<f64>,
) -> Result<Rope, ConfigError> {
    let rope = Rope::new(dims, theta);
    let original = scaling.original_max_position_embeddings.or(original);
    if scaling.partial_rotary_factor.is_some_and(|factor| factor != 1.0) {
        let why = " (hint: it is where it stands outside `rope_parameters`)";
        let value = Value::from(scaling.partial_rotary_factor);
        return Err(unsupported("rope_parameters.partial_rotary_factor", &value, why));
    }
    match scaling.rope_type.as_deref() {
        None | Some("default") => Ok(rope),
        Some("linear") => Ok(rope.with_linear(scaling.needed(scaling.factor, "factor")?)),
        Some("llama3") => Ok(rope.with_llama3(Llama3Scaling {
            factor: scaling.needed(scaling.factor, "factor")?,
            low_frequency_factor: scaling.needed(scaling.low_freq_factor, "low_freq_factor")?,
            high_frequency_factor: scaling.needed(scaling.high_freq_factor, "high_freq_factor")?,
            original_context: scaling.needed(original, "original_max_position_embeddings")?,
        })),
        Some("yarn") => {
            let factor = scaling.needed(scaling.factor, "factor")?;
            let mscale = yarn_stretch(factor, scaling.mscale.unwrap_or(1.0));
            let all = yarn_stretch(factor, scaling.mscale_all_dim.unwrap_or(0.0));
            Ok(rope.with_yarn(
                theta,
                YarnScaling {
                    factor,
                    original_context: scaling
                        .needed(original, "original_max_position_embeddings")?,
                    beta_fast: scaling.beta_fast.unwrap_or(32.0),
                    beta_slow: scaling.beta_slow.unwrap_or(1.0),
                    whole_pairs: scaling.truncate.unwrap_or(true),
                    stretch: scaling.attention_factor.unwrap_or(mscale / all),
                },
            ))
        }
        // Phi-3's. The factors for long contexts hold for short ones too, as in mlx-lm: with others
        // for the first tokens, the cache of a sequence that grows would be of two kinds.
        Some("longrope" | "su") => {
            let original = scaling.needed(original, "original_max_position_embeddings")?;
            let factors = scaling.long_factor.as_deref().unwrap_or_default();
            let pairs = dims as usize / 2;
            let short = scaling.short_factor.as_ref().is_none_or(|short| short.len() == pairs);
            if factors.len() != pairs || !short {
                let problem = format!("longrope with {} factors for {pairs}", factors.len());
                return Err(ConfigError::Contradiction(problem));
            }
            let longer = context / original;
            let stretch =
                if longer > 1.0 { (1.0 + longer.ln() / original.ln()).sqrt() } else { 1.0 };
            Ok(rope.with_factors(factors, scaling.attention_factor.unwrap_or(stretch)))
        }
        Some(other) => {
            let why = " (hint: `default`, `linear`, `llama3`, `yarn` and `longrope` are)";
            Err(unsupported("rope_scaling.rope_type", &other.into(), why))
        }
    }
}

fn yarn_stretch(factor: f64, mscale: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * mscale * factor.ln() + 1.0 }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{ModelConfig, config::tests::smollm2};

    #[test]
    fn newer_files_nest_the_rope() {
        let flat = format!("{:?}", ModelConfig::from_json(&smollm2()).unwrap().ropes);
        let mut config = smollm2();
        config.as_object_mut().unwrap().remove("rope_theta");
        config["rope_parameters"] = json!({"rope_theta": 1e5, "rope_type": "default"});
        let nested = format!("{:?}", ModelConfig::from_json(&config).unwrap().ropes);
        assert_eq!(flat, nested);
    }

    #[test]
    fn a_scaling_with_fields_that_nobody_knows_is_refused() {
        for (scaling, named) in [
            (json!({"rope_type": "linear", "factor": 2.0, "twist": 1}), "twist"),
            (json!({"rope_type": "linear"}), "`linear` without factor"),
            (json!({"rope_type": "yarn", "factor": 4.0}), "without original_max"),
            (
                json!({"type": "longrope", "long_factor": [1.0], "original_max_position_embeddings": 64}),
                "longrope with 1",
            ),
        ] {
            let mut config = smollm2();
            config["rope_scaling"] = scaling;
            let error = ModelConfig::from_json(&config).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
