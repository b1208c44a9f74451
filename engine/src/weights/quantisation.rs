//! How are this folder's weights quantised?
//!
//! MLX's affine quantisation: a row of numbers lies as codes of so many bits, packed into u32
//! words, and each group of numbers has a scale and a bias: `number = scale × code + bias`.
//! Models that were trained in MXFP4 (gpt-oss) have no biases, and scales of a byte.
//!
//! `config.json` has one setting for the model and may have others for single modules; a module is
//! quantised if it has a tensor `.scales`.

use std::collections::HashMap;

use serde_json::Value;

/// How a matrix is quantised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantisation {
    /// Numbers that share a scale and a bias.
    pub group_size: usize,
    /// Bits of a number.
    pub bits: usize,
    /// What the bits mean.
    pub mode: Mode,
}

/// What a code stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// `scale × code + bias`.
    #[default]
    Affine,
    /// A float of 4 bits times a power of two (OCP Microscaling Formats).
    Mxfp4,
}

/// MXFP4 has one form.
const MXFP4: Quantisation = Quantisation { group_size: 32, bits: 4, mode: Mode::Mxfp4 };

impl Quantisation {
    /// Words in a row of `columns` numbers.
    #[must_use]
    pub fn words(self, columns: usize) -> usize {
        columns * self.bits / 32
    }
}

/// `quantization` of a `config.json`.
#[derive(Debug, Clone, Default)]
pub struct QuantisationConfig {
    model: Option<Quantisation>,
    modules: HashMap<String, Quantisation>,
}

/// A quantisation that is not read.
#[derive(Debug, thiserror::Error)]
#[error(
    "config.json: `{field}` = {value} is not supported\nhint: MLX's affine quantisation is, of 2, 3, \
     4, 5, 6 or 8 bits in groups of 32, 64 or 128, and MXFP4; `mlx_lm.convert` makes it of dense \
     weights"
)]
pub struct UnsupportedQuantisation {
    field: String,
    value: String,
}

impl QuantisationConfig {
    /// Whether nothing is quantised.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.model.is_none() && self.modules.is_empty()
    }

    /// Reads it from a parsed `config.json`; without one, nothing is quantised.
    ///
    /// # Errors
    /// Another method than MLX's, or sizes that MLX does not have.
    pub fn from_json(config: &Value) -> Result<Self, UnsupportedQuantisation> {
        // Newer folders have it twice; `quantization_config` alone is another program's.
        let named = ["quantization", "quantization_config"];
        let found = named.into_iter().find_map(|name| {
            config.get(name).filter(|value| !value.is_null()).map(|value| (name, value))
        });
        let Some((name, value)) = found else { return Ok(Self::default()) };
        let unsupported = |field: String, value: &Value| UnsupportedQuantisation {
            field,
            value: value.to_string().chars().take(200).collect(),
        };
        let Some(settings) = value.as_object() else {
            return Err(unsupported(name.to_owned(), value));
        };
        if settings.get("quant_method").is_some_and(|method| method == "mxfp4") {
            let known = ["quant_method", "modules_to_not_convert"];
            if let Some((key, value)) =
                settings.iter().find(|(key, _)| !known.contains(&key.as_str()))
            {
                return Err(unsupported(format!("{name}.{key}"), value));
            }
            return Ok(Self { model: Some(MXFP4), modules: HashMap::new() });
        }
        let mut read = Self::default();
        for (key, value) in settings {
            match (key.as_str(), value) {
                ("group_size" | "bits", Value::Number(_)) => {}
                ("mode", Value::String(mode)) if mode == "affine" || mode == "mxfp4" => {}
                // A module that is left dense (false), or is as the model is (true).
                (_, Value::Bool(_)) => {}
                (module, Value::Object(_)) => {
                    let own = sizes(value)
                        .ok_or_else(|| unsupported(format!("{name}.{module}"), value))?;
                    read.modules.insert(module.to_owned(), own);
                }
                _ => return Err(unsupported(format!("{name}.{key}"), value)),
            }
        }
        read.model = Some(sizes(value).ok_or_else(|| unsupported(name.to_owned(), value))?);
        Ok(read)
    }

    /// How `module` (`model.layers.0.mlp.down_proj`) is quantised, if it is.
    #[must_use]
    pub fn of(&self, module: &str) -> Option<Quantisation> {
        self.modules.get(module).copied().or(self.model)
    }
}

fn sizes(value: &Value) -> Option<Quantisation> {
    let size = |name: &str| value.get(name).and_then(Value::as_u64);
    let mode = match value.get("mode").map(Value::as_str) {
        None | Some(Some("affine")) => Mode::Affine,
        Some(Some("mxfp4")) => Mode::Mxfp4,
        Some(_) => return None,
    };
    let (group_size, bits) = (size("group_size")?, size("bits")?);
    let known = matches!(group_size, 32 | 64 | 128) && matches!(bits, 2..=6 | 8);
    let read = Quantisation { group_size: group_size as usize, bits: bits as usize, mode };
    (known && (mode == Mode::Affine || read == MXFP4)).then_some(read)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn affine(group_size: usize, bits: usize) -> Quantisation {
        Quantisation { group_size, bits, mode: Mode::Affine }
    }

    #[test]
    fn modules_may_differ_from_the_model() {
        let config = json!({"quantization": {
            "group_size": 64, "bits": 4, "mode": "affine", "model.embed_tokens": {"group_size": 32, "bits": 8},
            "model.layers.0.mlp.gate": false,
            "experts": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
        }});
        let read = QuantisationConfig::from_json(&config).unwrap();
        assert_eq!(read.of("lm_head"), Some(affine(64, 4)));
        assert_eq!(read.of("model.embed_tokens"), Some(affine(32, 8)));
        assert_eq!(read.of("experts"), Some(MXFP4));
        let published = json!({"quantization_config": {"quant_method": "mxfp4",
            "modules_to_not_convert": ["lm_head"]}});
        assert_eq!(QuantisationConfig::from_json(&published).unwrap().of("x"), Some(MXFP4));
        assert_eq!(QuantisationConfig::from_json(&json!({})).unwrap().of("lm_head"), None);
    }

    #[test]
    fn what_is_not_mlx_affine_is_refused_by_name() {
        for (config, named) in [
            (json!({"quantization_config": {"quant_method": "gptq", "bits": 4}}), "quant_method"),
            (json!({"quantization_config": {"quant_method": "fp8"}}), "quant_method` = \"fp8"),
            (json!({"quantization": {"group_size": 32, "bits": 4, "mode": "nvfp4"}}), "mode"),
            (json!({"quantization": {"group_size": 64, "bits": 4, "mode": "mxfp4"}}), "mxfp4"),
            (json!({"quantization_config": {"quant_method": "mxfp4", "bits": 8}}), "bits"),
            (json!({"quantization": {"group_size": 16, "bits": 4}}), "`quantization`"),
            (json!({"quantization": {"group_size": 64, "bits": 7}}), "`quantization`"),
            (
                json!({"quantization": {"group_size": 64, "bits": 4, "lm_head": {"bits": 6}}}),
                "quantization.lm_head",
            ),
            (json!({"quantization": "4bit"}), "4bit"),
        ] {
            let error = QuantisationConfig::from_json(&config).unwrap_err().to_string();
            assert!(error.contains(named), "{config}: {error}");
        }
    }
}
