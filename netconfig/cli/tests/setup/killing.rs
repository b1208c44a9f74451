//! Kills a program where it touches its journal or starts a command, each time at the next such
//! place: before the system call, and after it. What it does in between is not interrupted anywhere
//! else that a later look could tell apart.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// How a traced program ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was killed at this place.
    Killed(String),
    /// It came to its end, past so many places.
    After(usize),
}

/// Runs `command` and kills it at its `nth` place, from 0. Places count once the program has opened
/// something in `folder` (or has tried to).
pub(crate) fn kill_at(command: &Command, folder: &Path, nth: usize) -> Ended {
    let pid = start_stopped(command);
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL)
        .expect("a process of ours can be traced");
    kill(pid, Signal::SIGCONT).expect("it is there");
    let (mut counted, mut begun, mut entering) = (0, false, true);
    loop {
        let signal = match waitpid(pid, None).expect("it is ours") {
            WaitStatus::PtraceSyscall(_) => {
                let call = Call::of(pid, folder);
                // An exit is only known as the second stop of a call.
                begun |= call.is_in_folder;
                if begun && call.is_place {
                    if counted == nth {
                        let when = if entering { "before" } else { "after" };
                        kill(pid, Signal::SIGKILL).expect("it is there");
                        reap(pid);
                        return Ended::Killed(format!("{when} {}", call.words));
                    }
                    counted += 1;
                }
                entering = !entering;
                None
            }
            WaitStatus::Exited(..) | WaitStatus::Signaled(..) => return Ended::After(counted),
            // The stop it began with, and what is sent to it, goes on to it; exec's own trap does not.
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGTRAP => Some(signal),
            _ => None,
        };
        let signal = signal.filter(|signal| *signal != Signal::SIGSTOP);
        if ptrace::syscall(pid, signal).is_err() {
            reap(pid);
            return Ended::After(counted);
        }
    }
}

fn reap(pid: Pid) {
    while !matches!(
        waitpid(pid, None),
        Err(_) | Ok(WaitStatus::Exited(..) | WaitStatus::Signaled(..))
    ) {}
}

/// Starts `command` in a shell that stops itself first, so that nothing of it is missed.
fn start_stopped(command: &Command) -> Pid {
    let mut shell = Command::new("/bin/sh");
    shell
        .arg0("sh")
        .args(["-c", "kill -STOP $$; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    #[expect(clippy::zombie_processes, reason = "it is waited for by its number")]
    let child = shell.spawn().expect("a shell runs");
    let pid = Pid::from_raw(child.id().try_into().expect("a process number"));
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("it is ours");
    assert!(matches!(stopped, WaitStatus::Stopped(_, Signal::SIGSTOP)), "{stopped:?}");
    pid
}

/// A system call that a process stands in.
struct Call {
    words: String,
    is_in_folder: bool,
    is_place: bool,
}

impl Call {
    /// By what the kernel shows of a stopped process: the call's number and its arguments.
    fn of(pid: Pid, folder: &Path) -> Self {
        let text = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        let mut words = text.split_whitespace();
        let number = words.next().and_then(|n| n.parse::<i64>().ok()).unwrap_or(-1);
        let arguments: Vec<u64> = words
            .map_while(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok())
            .collect();
        let argument = |at: usize| arguments.get(at).copied().unwrap_or(0);
        // Of a path argument only the address is to be seen: what is opened or renamed counts
        // wherever it is, a file descriptor only if it leads into the folder.
        let fd = fs::read_link(format!("/proc/{pid}/fd/{}", argument(0)));
        let fd_in_folder = fd.is_ok_and(|path| path.starts_with(folder));
        let creates = argument(2) & libc::O_CREAT as u64 != 0;
        let (name, is_place, is_in_folder) = match number {
            libc::SYS_write if fd_in_folder => ("write", true, true),
            libc::SYS_fsync => ("fsync", fd_in_folder, fd_in_folder),
            libc::SYS_openat if creates => ("open", true, true),
            libc::SYS_mkdirat => ("mkdir", true, true),
            libc::SYS_renameat | libc::SYS_renameat2 => ("rename", true, true),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_mkdir => ("mkdir", true, true),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_rename => ("rename", true, true),
            #[cfg(target_arch = "x86_64")]
            libc::SYS_vfork => ("start", true, false),
            libc::SYS_clone | libc::SYS_clone3 => ("start", true, false),
            _ => ("", false, false),
        };
        Self { words: name.to_owned(), is_in_folder, is_place }
    }
}
