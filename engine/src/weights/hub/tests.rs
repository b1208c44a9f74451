//! Whole pulls from a hub that breaks.

use std::{fs, path::Path, sync::Mutex, time::Duration};

use super::{
    testing::{COMMIT, Fault, Hub, REPO, files, pauses},
    *,
};
use crate::{
    layers::LayerRange,
    weights::{ModelFolder, TensorReader, staging::StagingError},
};

const ONE: &str = "model-00001-of-00002.safetensors";
const TWO: &str = "model-00002-of-00002.safetensors";

fn pull_to(hub: &Hub, dir: &Path, options: &PullOptions) -> Result<PullReport, HubError> {
    let client = hub.client();
    let listing = Listing::ask(&client, REPO, "main")?;
    pull(&client, &listing, &dir.join("tiny"), options, &|_| {})
}

fn listing_of(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_repository_becomes_a_folder() {
    let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
    let client = hub.client();
    let listing = Listing::ask(&client, REPO, "main").unwrap();
    let heard = Mutex::new(Vec::new());
    let report = pull(&client, &listing, &dir.path().join("tiny"), &PullOptions::default(), &|p| {
        heard.lock().unwrap().push(p);
    })
    .unwrap();
    assert_eq!((report.commit.as_str(), report.files, report.layers), (COMMIT, 2, 4));
    assert_eq!(report.bytes, (hub.file(ONE).len() + hub.file(TWO).len()) as u64);
    let heard = heard.into_inner().unwrap();
    assert!(heard.iter().any(|p| p.bytes_done == report.bytes && p.bytes_total == report.bytes));
    assert_eq!(
        listing_of(&dir.path().join("tiny")),
        [
            "LICENSE",
            "config.json",
            "exo-origin.json",
            ONE,
            TWO,
            "model.safetensors.index.json",
            "tokenizer.json"
        ]
    );
    for name in [ONE, TWO, "tokenizer.json"] {
        assert_eq!(fs::read(dir.path().join("tiny").join(name)).unwrap(), hub.file(name));
    }
    assert_eq!(listing_of(dir.path()), ["tiny"], "nothing is left beside it");
    assert!(hub.asked().iter().all(|asked| asked.token.as_deref() == Some("Bearer s3cret")));

    let again = pull_to(&hub, dir.path(), &PullOptions::default()).unwrap_err();
    assert!(matches!(again, HubError::Staging(StagingError::Exists { .. })), "{again}");
    let replace = PullOptions { replace: true, ..PullOptions::default() };
    pull_to(&hub, dir.path(), &replace).unwrap();
}

#[test]
fn only_the_bytes_of_the_layers_are_asked_for() {
    let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
    let range = |start, end| Some(LayerRange::checked(start, end).unwrap());
    let options = PullOptions { layers: range(1, 3), ..PullOptions::default() };
    let report = pull_to(&hub, dir.path(), &options).unwrap();
    let folder = ModelFolder::open(&dir.path().join("tiny")).unwrap();
    let names: Vec<&str> = folder.names().collect();
    assert_eq!(names, ["model.layers.1.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"]);
    assert!(report.bytes < 2 * 12_000 + 500, "two tensors and two headers: {}", report.bytes);
    let came: u64 = hub
        .asked()
        .iter()
        .filter(|asked| asked.file.ends_with(".safetensors"))
        .map(|asked| asked.range.map_or(u64::MAX, |(start, end)| end - start))
        .sum();
    assert!(came < 2 * 12_000 + 2_000, "{came} bytes of the shards were asked for");

    // Still it is the same model as the whole, to other nodes and in its sizes.
    let other = tempfile::tempdir().unwrap();
    pull_to(&hub, other.path(), &PullOptions::default()).unwrap();
    let whole = ModelFolder::open(&other.path().join("tiny")).unwrap();
    assert_eq!(folder.fingerprint(), whole.fingerprint());
    assert_eq!(folder.described().unwrap(), whole.described().unwrap());

    let mut numbers = vec![0.0; 3000];
    let tensor = folder.tensor("model.layers.1.mlp.up_proj.weight").unwrap();
    TensorReader::new().read_f32_into(tensor, &mut numbers).unwrap();
    assert_eq!((numbers[0], numbers[2999]), (14000.0, 16999.0));

    let options = PullOptions { layers: range(2, 4), replace: true, ..PullOptions::default() };
    pull_to(&hub, dir.path(), &options).unwrap();
    let folder = ModelFolder::open(&dir.path().join("tiny")).unwrap();
    assert!(folder.has("lm_head.weight") && !folder.has("model.embed_tokens.weight"));
    assert!(!dir.path().join("tiny").join(ONE).exists());

    let options = PullOptions { layers: range(2, 5), replace: true, ..PullOptions::default() };
    let refused = pull_to(&hub, dir.path(), &options).unwrap_err().to_string();
    assert!(refused.contains("has layers 0..4, not 2..5"), "{refused}");
}

#[test]
fn a_connection_that_breaks_goes_on_where_it_broke() {
    let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
    hub.fail(ONE, &[Fault::Cut(5000), Fault::Broken, Fault::Cut(1), Fault::Busy(7), Fault::Cut(0)]);
    pull_to(&hub, dir.path(), &PullOptions::default()).unwrap();
    let starts: Vec<u64> = hub
        .asked()
        .iter()
        .filter(|asked| asked.file == ONE)
        .map(|asked| asked.range.unwrap().0)
        .collect();
    assert_eq!(starts, [0, 5000, 5000, 5001, 5001, 5001]);
    assert_eq!(fs::read(dir.path().join("tiny").join(ONE)).unwrap(), hub.file(ONE));
}

#[test]
fn an_interrupted_pull_is_taken_up_again() {
    let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
    hub.fail(ONE, &[Fault::Cut(7000), Fault::Forbidden]);
    let denied = pull_to(&hub, dir.path(), &PullOptions::default()).unwrap_err();
    assert!(matches!(denied, HubError::Denied { status: 403, .. }), "{denied}");
    assert_eq!(listing_of(dir.path()), [".tiny.pulling"]);
    hub.asked();
    pull_to(&hub, dir.path(), &PullOptions::default()).unwrap();
    let asked = hub.asked();
    let one: Vec<_> = asked.iter().filter(|asked| asked.file == ONE).collect();
    assert_eq!(one.len(), 1);
    assert_eq!(one[0].range, Some((7000, hub.file(ONE).len() as u64)));
    assert!(asked.iter().all(|asked| asked.file != "tokenizer.json"), "it was there");
    assert_eq!(fs::read(dir.path().join("tiny").join(ONE)).unwrap(), hub.file(ONE));

    // Other layers: what was left is of no use.
    hub.fail(ONE, &[Fault::Cut(7000), Fault::Forbidden]);
    let replace = PullOptions { replace: true, ..PullOptions::default() };
    pull_to(&hub, dir.path(), &replace).unwrap_err();
    hub.asked();
    let layers = Some(LayerRange::checked(0, 1).unwrap());
    pull_to(&hub, dir.path(), &PullOptions { layers, ..replace }).unwrap();
    assert!(hub.asked().iter().any(|asked| asked.file == "tokenizer.json"));
}

#[test]
fn a_wrong_hash_is_fetched_once_more_and_then_refused() {
    for file in [ONE, "tokenizer.json"] {
        let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
        hub.fail(file, &[Fault::Changed]);
        pull_to(&hub, dir.path(), &PullOptions::default()).unwrap();
        assert_eq!(fs::read(dir.path().join("tiny").join(file)).unwrap(), hub.file(file));

        let dir = tempfile::tempdir().unwrap();
        hub.fail(file, &[Fault::Changed, Fault::Changed]);
        let refused = pull_to(&hub, dir.path(), &PullOptions::default()).unwrap_err();
        assert!(matches!(&refused, HubError::Checksum { file: named, .. } if named == file));
        assert!(!dir.path().join("tiny").exists());
        assert!(!dir.path().join(".tiny.pulling").join(file).exists());
    }
    // What a part that was changed on the disk costs is one more try.
    let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
    hub.fail(ONE, &[Fault::Cut(7000), Fault::Forbidden]);
    pull_to(&hub, dir.path(), &PullOptions::default()).unwrap_err();
    let part = dir.path().join(".tiny.pulling").join(format!("{ONE}.part"));
    fs::write(&part, vec![9; 7000]).unwrap();
    pull_to(&hub, dir.path(), &PullOptions::default()).unwrap();
    assert_eq!(fs::read(dir.path().join("tiny").join(ONE)).unwrap(), hub.file(ONE));
}

#[test]
fn other_bytes_than_those_asked_for_are_refused() {
    let (hub, dir) = (Hub::start(files()), tempfile::tempdir().unwrap());
    hub.fail(ONE, &[Fault::WrongRange]);
    let refused = pull_to(&hub, dir.path(), &PullOptions::default()).unwrap_err().to_string();
    assert!(refused.contains(ONE) && refused.contains("the hub answered bytes 1-"), "{refused}");
    // All of it instead of the rest.
    hub.fail(ONE, &[Fault::Cut(10), Fault::NoRanges]);
    let refused = pull_to(&hub, dir.path(), &PullOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("the hub answered 200 OK"), "{refused}");
    // All of it where all of it was asked for.
    let dir = tempfile::tempdir().unwrap();
    hub.fail(ONE, &[Fault::NoRanges]);
    pull_to(&hub, dir.path(), &PullOptions::default()).unwrap();
}

#[test]
fn the_hub_is_given_the_time_it_asks_for_and_then_given_up() {
    let hub = Hub::start(files());
    let client = hub.client();
    let listing = Listing::ask(&client, REPO, "main").unwrap();
    let file = listing.file(ONE).unwrap();
    let url = client.file_url(REPO, COMMIT, ONE);
    let ask = || {
        let mut patience = client::Patience::default();
        client.open(REPO, &url, 0..8, file.bytes, &mut patience).map(drop)
    };
    pauses();
    hub.fail(ONE, &[Fault::Busy(7), Fault::Broken, Fault::Busy(100_000)]);
    ask().unwrap();
    let (own, longest) = (Duration::from_secs(1), Duration::from_secs(120));
    assert_eq!(pauses(), [Duration::from_secs(7), own, longest]);

    hub.fail(ONE, &[Fault::Broken; 100]);
    let error = ask().unwrap_err().to_string();
    assert!(error.contains(&hub.endpoint) && error.contains("502 Bad Gateway"), "{error}");
    assert_eq!(pauses().len(), 5);
}

#[test]
fn what_is_no_model_or_not_there_is_named() {
    let hub = Hub::start(files());
    let client = hub.client();
    let missing = Listing::ask(&client, "org/other", "main").unwrap_err().to_string();
    assert!(missing.contains("org/other"), "{missing}");
    for (repo, revision) in
        [("tiny", "main"), ("a/b/c", "main"), ("org/tiny", "../x"), ("org/tiny", "")]
    {
        let odd = Listing::ask(&client, repo, revision).unwrap_err();
        assert!(matches!(odd, HubError::Listing { .. }), "{odd}");
    }
    assert!(hub.asked().is_empty());
    let listing = Listing::ask(&client, REPO, "main").unwrap();
    assert!(listing.files.iter().all(|file| !file.name.contains('/')), "folders are left out");
    let shards = hub.file(ONE).len() + hub.file(TWO).len();
    assert_eq!(listing.weight_bytes(), shards as u64);

    let dir = tempfile::tempdir().unwrap();
    let tight = PullOptions { free_bytes: Some(1 << 20), ..PullOptions::default() };
    let refused = pull_to(&hub, dir.path(), &tight).unwrap_err().to_string();
    assert!(refused.contains(&format!("{shards} bytes are to come")), "{refused}");
    for name in [TWO, "tokenizer.json"] {
        hub.remove(name);
        let dir = tempfile::tempdir().unwrap();
        let refused = pull_to(&hub, dir.path(), &PullOptions::default()).unwrap_err().to_string();
        assert!(refused.contains(name), "{refused}");
    }
    drop(hub);
}
