use std::{collections::BTreeMap, fs, path::Path};

use exo_netconfig::{InterfaceChoice, Link};
use exo_transport::{ClusterKey, Encrypt, Endpoint, EndpointConfig, Event, Identity, Trust};

use super::*;
use crate::weights::manifest::{Manifests, fetch};

const PATIENCE: Duration = Duration::from_secs(20);

fn endpoint(name: &str) -> Endpoint {
    let link = Link::open(&InterfaceChoice::Named("lo".into())).unwrap();
    let trust = Trust::ClusterKey(ClusterKey::from_bytes([7; 32]));
    let config = EndpointConfig { encrypt: Encrypt::Off, ..EndpointConfig::new(name, trust) };
    Endpoint::open(link, Identity::generate(), config).unwrap()
}

fn connected(endpoint: &Endpoint) -> QueuePair {
    match endpoint.events().recv_timeout(PATIENCE).unwrap() {
        Event::Connected { queue_pair } => queue_pair,
        other => panic!("{other:?} instead of Connected"),
    }
}

/// A node with the tiny model of the tests, and what it grants to `us`.
struct Holder {
    endpoint: Endpoint,
    pair: QueuePair,
    _offering: Offering,
    remote: RemoteRegion,
}

impl Holder {
    fn of(us: &Endpoint, name: &str, dir: &Path, data: &Path) -> Self {
        let endpoint = endpoint(name);
        us.connect(endpoint.local_addr()).unwrap();
        let (pair, back) = (connected(us), connected(&endpoint));
        let folder = ModelFolder::open(dir).unwrap();
        let manifest = Manifests::new(data).of(&folder).unwrap();
        let offering = offer(&folder, manifest, &back).unwrap();
        let remote = offering.remote;
        Self { endpoint, pair, _offering: offering, remote }
    }

    fn source(&self, fingerprint: [u8; 32]) -> Result<PeerShards, SourceError> {
        PeerShards::open(self.pair.clone(), self.remote, fingerprint)
    }
}

fn fixture() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny-llama3")
}

/// A copy of the model in which the last layer's bytes are others, beside the fingerprint's samples.
fn rotten(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    for entry in fs::read_dir(fixture()).unwrap() {
        let from = entry.unwrap().path();
        fs::copy(&from, dir.join(from.file_name().unwrap())).unwrap();
    }
    let folder = ModelFolder::open(&fixture()).unwrap();
    let last = folder.tensor("model.layers.3.mlp.up_proj.weight").unwrap();
    let mut bytes = fs::read(&last.file).unwrap();
    bytes[last.range.start as usize] ^= 1;
    fs::write(dir.join("model.safetensors"), bytes).unwrap();
}

#[test]
fn layers_come_from_whoever_gives_the_right_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (bad, us) = (dir.path().join("bad"), endpoint("us"));
    rotten(&bad);
    let fingerprint = ModelFolder::open(&fixture()).unwrap().fingerprint();
    let liar = Holder::of(&us, "liar", &bad, &dir.path().join("a"));
    let good = Holder::of(&us, "good", &fixture(), &dir.path().join("b"));
    let [liar_source, good_source] = [&liar, &good].map(|one| one.source(fingerprint).unwrap());
    let manifest = good_source.offer().manifest().clone();
    assert_ne!(manifest.digest(), liar_source.offer().manifest().digest());
    let names: Vec<&str> = manifest.tensors().iter().map(|t| t.name.as_str()).collect();
    let upper: Vec<&str> =
        names.iter().copied().filter(|name| name.contains("layers.3.")).collect();
    let get = |name: &str, sources: &[&dyn ShardSource]| {
        let path = dir.path().join(name);
        fetch(&manifest, &upper, sources, &path, &mut |_| {}).map(|report| (report, path))
    };

    let (report, path) = get("one.safetensors", &[&liar_source, &good_source]).unwrap();
    assert_eq!(report.liars, ["node liar"]);
    let bytes = fs::read(path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(tensors.names().len(), upper.len());
    let original = ModelFolder::open(&fixture()).unwrap();
    for name in &upper {
        let own = original.tensor(name).unwrap();
        let file = fs::read(&own.file).unwrap();
        let wanted = &file[own.range.start as usize..own.range.end as usize];
        assert!(tensors.tensor(name).unwrap().data() == wanted, "{name}");
    }

    // A file beside the weights, as it is.
    let tokenizer = good_source.offer().small().iter().find(|f| f.name == "tokenizer.json");
    let content = good_source.region(tokenizer.unwrap().region).unwrap();
    assert!(content == fs::read(fixture().join("tokenizer.json")).unwrap());
    assert_eq!(
        good_source.offer().config().as_bytes(),
        fs::read(fixture().join("config.json")).unwrap()
    );

    // Only the liar is left: nothing is, and it says why.
    let error = get("two.safetensors", &[&liar_source]).unwrap_err().to_string();
    assert!(error.contains("node liar gave other bytes"), "{error}");
    assert!(!dir.path().join("two.safetensors").exists());

    // An offer of another model is none.
    let other = good.source([1; 32]).err().unwrap().to_string();
    assert!(other.contains("another model"), "{other}");
}

#[test]
fn a_node_that_goes_away_midway_is_left_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let us = endpoint("us");
    let fingerprint = ModelFolder::open(&fixture()).unwrap().fingerprint();
    let first = Holder::of(&us, "first", &fixture(), dir.path());
    let second = Holder::of(&us, "second", &fixture(), dir.path());
    let sources = [&first, &second].map(|one| one.source(fingerprint).unwrap());
    let manifest = sources[0].offer().manifest().clone();
    let all: Vec<&str> = manifest.tensors().iter().map(|t| t.name.as_str()).collect();
    let mut parts = 0;
    let mut progress = |_| {
        parts += 1;
        if parts == 3 {
            first.endpoint.close();
        }
    };
    let sources: Vec<&dyn ShardSource> = sources.iter().map(|one| one as _).collect();
    let path = dir.path().join("all.safetensors");
    let report = fetch(&manifest, &all, &sources, &path, &mut progress).unwrap();
    assert_eq!(parts, all.len());
    let bytes: u64 = manifest.tensors().iter().map(ManifestTensor::bytes).sum();
    assert_eq!(report.bytes, BTreeMap::from([(Place::Peer, bytes)]));
    assert!(report.liars.is_empty());
    drop(second);
}
