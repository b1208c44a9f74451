//! Measurements that run at the same time and take turns: all but one of them are stopped.
//!
//! A machine that others share is fast for a while and slow for a while, and goes from one to the other
//! within seconds. Contestants that are measured one after the other then have different machines; those
//! that take turns of a fraction of a second have the same. A round trip that a stop falls into is long:
//! one of thousands, which neither a median nor a 99th percentile sees. A mean does.

use std::{
    cell::RefCell,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How long a turn is: long enough to be warm in most of it.
const TURN: Duration = Duration::from_millis(40);
/// Between two looks for somebody who has a program to run.
const LOOK: Duration = Duration::from_millis(1);

thread_local! {
    /// Whose programs this thread starts.
    static PLACE: RefCell<Option<Arc<Place>>> = const { RefCell::new(None) };
}

/// One of those that take turns.
#[derive(Default)]
struct Place(Mutex<Programs>);

#[derive(Default)]
struct Programs {
    /// Those that have not ended.
    running: Vec<Pid>,
    /// It is their turn.
    in_turn: bool,
}

impl Place {
    fn with<T>(&self, what: impl FnOnce(&mut Programs) -> T) -> T {
        what(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets its programs run for a turn. Gives whether there were any.
    fn give_turn(&self) -> bool {
        let some = self.with(|programs| {
            programs.in_turn = true;
            programs.signal(Signal::SIGCONT);
            !programs.running.is_empty()
        });
        if some {
            thread::sleep(TURN);
        }
        self.with(|programs| {
            programs.in_turn = false;
            programs.signal(Signal::SIGSTOP);
        });
        some
    }
}

impl Programs {
    fn signal(&self, signal: Signal) {
        for program in &self.running {
            // One that has just ended needs none.
            let _ = kill(*program, signal);
        }
    }
}

/// Runs all `jobs` at the same time, with the programs that they start in turns.
pub(crate) fn take<T: Send>(jobs: Vec<impl FnOnce() -> T + Send>) -> Vec<T> {
    let places: Vec<Arc<Place>> = jobs.iter().map(|_| Arc::default()).collect();
    thread::scope(|scope| {
        let threads: Vec<_> = jobs
            .into_iter()
            .zip(places.clone())
            .map(|(job, place)| {
                scope.spawn(move || {
                    PLACE.set(Some(place));
                    job()
                })
            })
            .collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            let turns = places.iter().filter(|place| place.give_turn()).count();
            if turns == 0 {
                thread::sleep(LOOK);
            }
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// This thread has started a program: it runs when it is its turn, and always if nobody takes turns.
pub(crate) fn note_started(program: u32) {
    with_programs(|programs| {
        programs.running.push(pid(program));
        if !programs.in_turn {
            programs.signal(Signal::SIGSTOP);
        }
    });
}

/// And it has ended.
pub(crate) fn note_ended(program: u32) {
    with_programs(|programs| programs.running.retain(|running| *running != pid(program)));
}

fn with_programs(what: impl FnOnce(&mut Programs)) {
    PLACE.with_borrow(|place| {
        if let Some(place) = place {
            place.with(what);
        }
    });
}

fn pid(program: u32) -> Pid {
    Pid::from_raw(program.cast_signed())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// As the kernel tells it: `R` runs, `T` is stopped.
    fn state(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.chars().next()
    }

    #[test]
    fn no_two_run_at_the_same_time_and_all_end() {
        let pids: Mutex<Vec<u32>> = Mutex::default();
        let job = || {
            let mut child = Command::new("sh")
                .args(["-c", "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"])
                .spawn()
                .unwrap();
            let pid = child.id();
            note_started(pid);
            pids.lock().unwrap().push(pid);
            let (mut together, mut looks) = (0, 0);
            while child.try_wait().unwrap().is_none() {
                let all = pids.lock().unwrap().clone();
                let runs = |pid: &u32| matches!(state(*pid), Some('R' | 'S' | 'D'));
                looks += 1;
                together += u32::from(all.iter().filter(|pid| runs(pid)).count() > 1);
                thread::sleep(Duration::from_millis(1));
            }
            note_ended(pid);
            (together, looks)
        };
        let seen: Vec<(u32, u32)> = take(vec![job, job, job]);
        assert_eq!(seen.len(), 3);
        // (A program that has just begun, or was told to stop, may be seen before it does.)
        let together: u32 = seen.iter().map(|(together, _)| together).sum();
        let looks: u32 = seen.iter().map(|(_, looks)| looks).sum();
        assert!(5 * together < looks, "{seen:?}");
    }
}
