//! Which models do people ask for, where are they, and what do they need?
//!
//! The catalogue is `engine/catalogue.toml`, built in. What is typed is resolved without asking
//! anybody: a folder, a model that is here, a name of the catalogue, a repository of the hub.

use std::{path::Path, sync::LazyLock};

use bytesize::ByteSize;
use serde::Deserialize;

use super::hub;

/// Models that fit are named, the largest first, but no more than so many.
const SUGGESTIONS_MAX: usize = 3;

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    toml::from_str(include_str!("../../catalogue.toml")).expect("a test reads the catalogue")
});

/// The models that are known by name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    #[serde(rename = "model")]
    models: Vec<KnownModel>,
}

/// One model, in some variants.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownModel {
    /// `FAMILY:SIZE`.
    pub name: String,
    /// What it is.
    pub about: String,
    /// What it may be used for.
    pub licence: String,
    /// `model_type` of its configuration.
    pub architecture: String,
    /// In billions.
    pub parameters: f64,
    /// In billions, if a token chooses among experts: those that it reads.
    pub active: Option<f64>,
    /// How many layers.
    pub layers: u32,
    /// In tokens.
    pub context: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Rows of the embedding.
    pub vocabulary: u32,
    /// Numbers of keys and values that a token takes in a layer.
    pub cache_numbers: u32,
    /// Whether the output head is the embedding.
    #[serde(default)]
    pub tied: bool,
    /// The first is meant where none is named.
    pub variants: Vec<Variant>,
}

/// One precision of a model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Bits of a weight.
    pub bits: u32,
    /// `OWNER/NAME` on the hub.
    pub repository: String,
}

/// What a typed name means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// A model of the catalogue.
    Known {
        /// What it is called here: `FAMILY:SIZE`, with the variant unless it is the first.
        name: String,
        /// Which.
        model: &'static KnownModel,
        /// In which precision.
        variant: &'static Variant,
    },
    /// A repository of the hub.
    Repository {
        /// `OWNER/NAME`.
        repository: String,
        /// What it is called here.
        name: String,
    },
}

impl Meaning {
    /// What the model is called here.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Known { name, .. } | Self::Repository { name, .. } => name,
        }
    }

    /// Where it is on the hub.
    #[must_use]
    pub fn repository(&self) -> &str {
        match self {
            Self::Known { variant, .. } => &variant.repository,
            Self::Repository { repository, .. } => repository,
        }
    }
}

/// A name that means nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("no model is known as {name}{}\nhint: `exo-node models ls --known` lists names; OWNER/NAME means a repository of the hub", did_you_mean(.near))]
pub struct UnknownName {
    /// The name.
    pub name: String,
    /// Names like it.
    pub near: Vec<String>,
}

/// A model that is larger than the memory there is.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{name} needs {} of memory, {} are offered: {} are missing\nhint: {}", size(.needs), size(.offered), size(&(.needs - .offered)), others(.would_fit))]
pub struct DoesNotFit {
    /// The model.
    pub name: String,
    /// Bytes that it needs.
    pub needs: u64,
    /// Bytes that there are.
    pub offered: u64,
    /// Models that would fit, the largest first.
    pub would_fit: Vec<String>,
}

fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; like it are {}", near.join(", ")) }
}

fn size(bytes: &u64) -> String {
    ByteSize(*bytes).display().iec().to_string()
}

fn others(names: &[String]) -> String {
    let more = "machines together: --memory says what they all offer; --layers fetches a part";
    if names.is_empty() {
        more.to_owned()
    } else {
        format!("{} would fit; or several {more}", names.join(", "))
    }
}

impl Catalogue {
    /// The one that is built in.
    #[must_use]
    pub fn built_in() -> &'static Self {
        &CATALOGUE
    }

    /// All models, in the catalogue's order.
    #[must_use]
    pub fn models(&self) -> &[KnownModel] {
        &self.models
    }

    /// What a name means that is neither a folder nor a model that is here.
    ///
    /// # Errors
    /// [`UnknownName`].
    pub fn resolve(&'static self, typed: &str) -> Result<Meaning, UnknownName> {
        let lower = typed.to_ascii_lowercase();
        for model in &self.models {
            for (number, variant) in model.variants.iter().enumerate() {
                let (own, first) = (model.name_of(variant), number == 0);
                if lower == own || (first && lower == model.name) {
                    let name = if first { model.name.clone() } else { own };
                    return Ok(Meaning::Known { name, model, variant });
                }
            }
        }
        // A family: its first size.
        let mut family = self.models.iter().filter(|model| model.family() == lower);
        if let Some(model) = family.next() {
            let (name, variant) = (model.name.clone(), &model.variants[0]);
            return Ok(Meaning::Known { name, model, variant });
        }
        if hub::is_repo(typed) {
            let (repository, name) = (typed.to_owned(), typed.replace('/', "--"));
            return Ok(Meaning::Repository { repository, name });
        }
        let stem = lower.split(':').next().unwrap_or_default();
        let near = self.models.iter().filter(|model| {
            !stem.is_empty() && (model.name.starts_with(stem) || stem.starts_with(model.family()))
        });
        let near = near.map(|model| model.name.clone()).collect();
        Err(UnknownName { name: typed.to_owned(), near })
    }

    /// Whether a model with so many bytes of weights fits into `offered` bytes of memory.
    ///
    /// # Errors
    /// [`DoesNotFit`] says what is missing, and what would fit.
    pub fn check_fit(&self, name: &str, weights: u64, offered: u64) -> Result<(), DoesNotFit> {
        let needs = memory_for(weights);
        if needs <= offered {
            return Ok(());
        }
        let mut fitting: Vec<(u64, String)> = self
            .models
            .iter()
            .flat_map(|model| model.variants.iter().map(move |variant| (model, variant)))
            .map(|(model, variant)| (model.memory_bytes(variant), model.name_of(variant)))
            .filter(|&(bytes, _)| bytes <= offered)
            .collect();
        fitting.sort_by(|a, b| b.cmp(a));
        let would_fit = fitting.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name).collect();
        Err(DoesNotFit { name: name.to_owned(), needs, offered, would_fit })
    }
}

impl KnownModel {
    /// `FAMILY:SIZE-VARIANT`.
    #[must_use]
    pub fn name_of(&self, variant: &Variant) -> String {
        format!("{}-{}bit", self.name, variant.bits)
    }

    /// How many bytes its weights have.
    #[must_use]
    pub fn weight_bytes(&self, variant: &Variant) -> u64 {
        // Groups of 64 weights share a scale and a bias of 16 bits each.
        let shared = if variant.bits < 16 { 0.5 } else { 0.0 };
        (self.parameters * 1e9 * (f64::from(variant.bits) + shared) / 8.0) as u64
    }

    /// How much memory it needs.
    #[must_use]
    pub fn memory_bytes(&self, variant: &Variant) -> u64 {
        memory_for(self.weight_bytes(variant))
    }

    fn family(&self) -> &str {
        self.name.split(':').next().unwrap_or_default()
    }
}

/// Memory for so many bytes of weights: a tenth more, for caches and buffers.
fn memory_for(weights: u64) -> u64 {
    weights.saturating_add(weights / 10)
}

/// Whether what was typed is meant as a path: it says so, or such a folder is there.
#[must_use]
pub fn is_path(typed: &str) -> bool {
    let says_so = typed.starts_with(['/', '.', '~']) || typed.ends_with('/');
    says_so || typed.matches('/').count() > 1 || (typed.contains('/') && Path::new(typed).is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(typed: &str) -> (String, String) {
        match Catalogue::built_in().resolve(typed).unwrap() {
            Meaning::Known { name, variant, .. } => (name, variant.repository.clone()),
            Meaning::Repository { repository, name } => (name, repository),
        }
    }

    #[test]
    fn the_catalogue_is_consistent() {
        let models = Catalogue::built_in().models();
        let mut names = std::collections::HashSet::new();
        for model in models {
            assert!(model.name.contains(':') && !model.licence.is_empty(), "{}", model.name);
            assert!(model.layers > 0 && model.context > 0 && model.parameters > 0.0);
            assert!(!model.variants.is_empty(), "{}", model.name);
            for variant in &model.variants {
                assert!(names.insert(model.name_of(variant)), "{} is there twice", model.name);
                assert!(hub::is_repo(&variant.repository), "{}", variant.repository);
                assert_eq!(resolved(&model.name_of(variant)).1, variant.repository);
            }
        }
    }

    #[test]
    fn what_people_type_means_something() {
        let coder = "mlx-community/Qwen2.5-Coder-32B-Instruct-4bit";
        assert_eq!(resolved("qwen2.5-coder:32b"), ("qwen2.5-coder:32b".into(), coder.into()));
        assert_eq!(resolved("Qwen2.5-Coder").0, "qwen2.5-coder:32b");
        assert_eq!(resolved("qwen2.5-coder:32b-4bit").0, "qwen2.5-coder:32b");
        assert_eq!(resolved("qwen2.5-coder:32b-8bit").0, "qwen2.5-coder:32b-8bit");
        assert_eq!(resolved("llama3.2").0, "llama3.2:3b");
        assert_eq!(resolved("deepseek-r1:671b").1, "mlx-community/DeepSeek-R1-4bit");
        assert_eq!(resolved("Qwen/Qwen3-8B"), ("Qwen--Qwen3-8B".into(), "Qwen/Qwen3-8B".into()));
        for path in ["./m", "/m/x", "../m", "~/m", "m/", "a/b/c", "src/weights"] {
            assert!(is_path(path), "{path}");
        }
        assert!(!is_path("llama3.2:3b") && !is_path("Qwen/Qwen3-8B"));
    }

    #[test]
    fn a_name_that_means_nothing_is_told_what_is_like_it() {
        let error = Catalogue::built_in().resolve("llama3.2:70b").unwrap_err();
        assert_eq!(error.near, ["llama3.2:3b", "llama3.2:1b"]);
        assert!(error.to_string().contains("models ls --known"));
        assert!(Catalogue::built_in().resolve("").unwrap_err().near.is_empty());
        for odd in ["gpt 5", "../x", "a/b/c", "a/"] {
            assert!(Catalogue::built_in().resolve(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_model_that_does_not_fit_says_what_is_missing_and_what_would() {
        let catalogue = Catalogue::built_in();
        let Meaning::Known { name, model, variant } = catalogue.resolve("llama3.3").unwrap() else {
            panic!("it is known")
        };
        let bytes = model.weight_bytes(variant);
        let error = catalogue.check_fit(&name, bytes, 24 << 30).unwrap_err();
        assert_eq!(
            error.to_string(),
            "llama3.3:70b needs 40.7 GiB of memory, 24.0 GiB are offered: 16.7 GiB are missing\n\
             hint: qwen2.5-coder:32b-4bit, qwen3:30b-4bit, gpt-oss:20b-4bit would fit; or \
             several machines together: --memory says what they all offer; --layers fetches a part"
        );
        assert_eq!(catalogue.check_fit(&name, bytes, 48 << 30), Ok(()));
        let nothing = catalogue.check_fit(&name, bytes, 1).unwrap_err();
        assert!(nothing.would_fit.is_empty() && nothing.to_string().contains("hint: machines"));
    }
}
