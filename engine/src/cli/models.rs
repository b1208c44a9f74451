//! `exo-node models ls | pull | import | rm`.

use std::path::Path;

use anyhow::{Context, Result};
use bytesize::ByteSize;
use exo_engine::weights::{
    ImportDtype, ImportOptions, ImportReport, ModelEntry, ModelLibrary, catalogue::Catalogue,
    import_gguf,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{
    args::{DataArgs, DtypeChoice, ImportArgs, ModelsCommand},
    host,
    pull::pull,
    report::{print, table},
};

pub(super) fn models(command: ModelsCommand) -> Result<()> {
    match command {
        ModelsCommand::Ls { known: true, .. } => known(),
        ModelsCommand::Ls { json, data, .. } => ls(json, data),
        ModelsCommand::Pull(args) => pull(args),
        ModelsCommand::Import(args) => import(args),
        ModelsCommand::Rm { name, data } => {
            library(data)?.remove(&name)?;
            print(&format!("removed {name}\n"))
        }
    }
}

fn library(data: DataArgs) -> Result<ModelLibrary> {
    Ok(ModelLibrary::new(&host::data_dir(data.data)?))
}

fn ls(json: bool, data: DataArgs) -> Result<()> {
    let models = library(data)?.list()?;
    if json {
        let models: Value = models.iter().map(described).collect();
        return print(&format!("{models:#}\n"));
    }
    if models.is_empty() {
        return print(
            "no models yet\nhint: `exo-node models pull llama3.2:3b` fetches one, `exo-node models \
             import FILE.gguf --name NAME` makes one from a GGUF file\n",
        );
    }
    let rows: Vec<_> = models
        .into_iter()
        .map(|model| {
            let size = size(model.bytes);
            [model.name, model.architecture, model.layers.to_string(), size]
        })
        .collect();
    print(&table(["NAME", "ARCHITECTURE", "LAYERS", "SIZE"], &rows))
}

/// What can be had by name.
fn known() -> Result<()> {
    let rows: Vec<_> = Catalogue::built_in()
        .models()
        .iter()
        .flat_map(|model| model.variants.iter().map(move |variant| (model, variant)))
        .map(|(model, variant)| {
            [
                model.name_of(variant),
                size(model.memory_bytes(variant)),
                format!("{} bit", variant.bits),
                model.layers.to_string(),
                model.licence.clone(),
                variant.repository.clone(),
            ]
        })
        .collect();
    print(&table(["NAME", "NEEDS", "WEIGHTS", "LAYERS", "LICENCE", "REPOSITORY"], &rows))
}

fn described(model: &ModelEntry) -> Value {
    json!({
        "name": model.name,
        "dir": model.dir,
        "architecture": model.architecture,
        "layers": model.layers,
        "bytes": model.bytes,
    })
}

fn import(args: ImportArgs) -> Result<()> {
    let name = match args.name {
        Some(name) => name,
        None => name_of(&args.file),
    };
    let dir = library(args.data)?.dir_for(&name)?;
    let dtype = match args.dtype {
        DtypeChoice::F32 => ImportDtype::F32,
        DtypeChoice::F16 => ImportDtype::F16,
        DtypeChoice::Bf16 => ImportDtype::Bf16,
        DtypeChoice::Stored => ImportDtype::Stored,
    };
    let options = ImportOptions { dtype, replace: args.replace };
    let bar = ProgressBar::new(0).with_style(style()?);
    let imported = import_gguf(&args.file, &dir, &options, &mut |progress| {
        bar.set_length(progress.bytes_total);
        bar.set_position(progress.bytes_done);
        bar.set_message(progress.tensor.to_owned());
    });
    bar.finish_and_clear();
    let report = imported.with_context(|| format!("cannot import {}", args.file.display()))?;
    print(&told(&name, &report))
}

fn told(name: &str, report: &ImportReport) -> String {
    format!(
        "{name}: {} layers, {} tensors, {} in {}\nask it: exo-node run {name}\n",
        report.layers,
        report.tensors,
        size(report.bytes),
        report.dir.display(),
    )
}

/// The file's name without its ending, as far as a model may be called so.
fn name_of(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    stem.chars().map(|c| if fits(c) { c.to_ascii_lowercase() } else { '-' }).collect()
}

pub(super) fn style() -> Result<ProgressStyle> {
    let template = "{bar:30} {bytes} of {total_bytes}, {eta} to go  {msg}";
    Ok(ProgressStyle::with_template(template)?)
}

pub(super) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_names_its_model() {
        let name = |file: &str| name_of(Path::new(file));
        assert_eq!(name("a/SmolLM2-135M.Q4_1.gguf"), "smollm2-135m.q4_1");
        assert_eq!(name("my model (1).gguf"), "my-model--1-");
    }

    #[test]
    fn the_progress_bar_s_template_is_one() {
        style().unwrap();
    }
}
