//! `tbbench rails` as a whole: two links that the kernel limits, alone and as one.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test may end where it fails")]

use std::process::Command;

use serde_json::Value;

#[test]
fn both_links_carry_their_part() {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    if !root {
        eprintln!("skipped: needs network namespaces (root, `ip`, `tc`)");
        return;
    }
    let mut tbbench = Command::new(env!("CARGO_BIN_EXE_tbbench"));
    tbbench.args(["rails", "--mbps", "400,200", "--count", "12", "--repeats", "1", "--json"]);
    let output = tbbench.output().unwrap();
    let (said, told) = (output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let report: Value = serde_json::from_slice(&said).unwrap();
    let shares: Vec<f64> =
        report["shares"].as_array().unwrap().iter().map(|share| share.as_f64().unwrap()).collect();
    // A link's rate bounds its share from above, whatever else this machine does; 8 MiB are 16 stripes.
    assert!(shares.iter().all(|share| *share > 0.05), "{shares:?}");
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{shares:?}");
    for (alone, limit) in report["alone"].as_array().unwrap().iter().zip([0.4, 0.2]) {
        // Twelve messages of 64 Mbit against a bucket of 2 Mbit: the limit is seen.
        let gbps = alone["median"].as_f64().unwrap();
        assert!(gbps > 0.0 && gbps < 1.05 * limit, "{gbps} Gb/s over a link of {limit}");
    }
}
