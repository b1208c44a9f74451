//! What can come between: another setup, a disk that is full, folders that are none or not ours.

use std::{
    fs::{self, File},
    process::Output,
    thread,
};

use crate::{NO_ADDRESS, bench::BRIDGE, journals};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn while_one_is_at_work_another_is_refused() {
    let Some(bench) = NO_ADDRESS.bench("busy") else { return };
    let before = bench.everything();
    let state = bench.dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let held = File::open(&state).unwrap();
    held.lock().unwrap();
    for mut command in [bench.setup(None, &[]), bench.command(&["setup", "--undo"])] {
        let refused = command.output().unwrap();
        assert_eq!(refused.status.code(), Some(2));
        assert!(said(&refused).contains("another `tbnet setup` is at work"), "{}", said(&refused));
    }
    // To look is no change.
    assert!(bench.tbnet(&["setup", "--dry-run", "--interface", BRIDGE]).status.success());
    assert_eq!(bench.everything(), before);
    drop(held);
    assert!(bench.setup(None, &[]).output().unwrap().status.success());
    bench.undo();
    assert_eq!(bench.everything(), before);
}

#[test]
fn of_many_at_once_one_does_it_and_one_undo_is_enough() {
    let Some(bench) = NO_ADDRESS.bench("many") else { return };
    let before = bench.everything();
    let outputs: Vec<Output> = thread::scope(|scope| {
        let run = || bench.setup(None, &[]).output().unwrap();
        let started: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        started.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for output in &outputs {
        let refused = said(output).contains("is at work");
        assert!(output.status.success() || refused, "{}", said(output));
    }
    assert!(outputs.iter().any(|output| output.status.success()));
    let state = bench.dir.path().join("state");
    assert_eq!(journals(&state, ""), ["setup-0001.jsonl"]);
    bench.undo();
    assert_eq!(bench.everything(), before);
}

#[test]
fn a_disk_that_fills_up_anywhere_leaves_what_undo_can_put_back() {
    let Some(bench) = NO_ADDRESS.bench("full") else { return };
    bench.on_a("link set br0 down");
    let before = bench.everything();
    let state = bench.dir.path().join("state");
    let words = ["setup", "--yes", "--interface", BRIDGE];
    assert!(bench.tbnet(&words).status.success());
    let journal = fs::read_to_string(state.join("setup-0001.jsonl")).unwrap();
    let head = journal.find('\n').unwrap() + 1;
    bench.undo();
    let mut stopped = 0;
    // From a head that does not fit to all but the last byte: within each line, and between them.
    for bytes in (head - 1..journal.len()).step_by(3) {
        // A file that may not grow any further gives the same error as a disk that is full, with as
        // much written as fits.
        let limit = format!("trap '' XFSZ && prlimit --pid $$ --fsize={bytes}");
        let output = bench.command_after(&limit, &words).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{bytes}: {}", said(&output));
        assert!(said(&output).contains("File too large"), "{bytes}: {}", said(&output));
        if bytes < head {
            assert_eq!(bench.everything(), before, "{bytes}: nothing was begun");
            assert_eq!(journals(&state, "jsonl"), [""; 0]);
            assert_eq!(journals(&state, "new"), [""; 0], "no half a journal is left");
            continue;
        }
        let again = bench.tbnet(&words);
        assert!(said(&again).contains("was cut off at step"), "{bytes}: {}", said(&again));
        bench.undo();
        assert_eq!(bench.everything(), before, "{bytes}: {}", said(&output));
        stopped += usize::from(said(&output).contains("stopped at step"));
    }
    assert!(stopped > 10, "{stopped} times in the middle");
}

#[test]
fn where_nothing_can_be_kept_nothing_is_changed() {
    let Some(bench) = NO_ADDRESS.bench("keep") else { return };
    let before = bench.everything();
    let file = bench.dir.path().join("a file");
    fs::write(&file, "").unwrap();
    for state in [file.to_str().unwrap(), "/proc/tbnet"] {
        let output = bench.setup(None, &["--state", state]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(said(&output).contains(state) && said(&output).contains("--state DIR"));
        assert_eq!(bench.everything(), before);
    }
}
