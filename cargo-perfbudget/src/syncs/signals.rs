//! Signals while a command runs. The tool must not die before it: its syncs would fail.
//!
//! An interrupt from the terminal goes to the command, too, which decides what becomes of it; a
//! request to end is passed on. When only what the command left behind is being waited for, either
//! ends the waiting.

use std::io;
use std::process;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::{FAILED, Phase, Session};

/// How long to wait in silence for what a command left behind.
const SILENCE: Duration = Duration::from_secs(2);

/// Attends to signals and to the waiting, on threads that are not watched.
pub(super) fn attend(session: &Arc<Session>) -> io::Result<()> {
    let waiting = Arc::clone(session);
    thread::Builder::new().spawn(move || say_what_is_waited_for(&waiting))?;
    attend_to_signals(session)
}

fn say_what_is_waited_for(session: &Session) {
    let lingers = |phase: &mut Phase| matches!(phase, Phase::Lingering(_));
    let phase = session
        .changed
        .wait_while(session.phase(), |phase| !lingers(phase) && !is_over(phase));
    let Ok(phase) = phase else { return };
    let Ok((mut phase, _)) = session.changed.wait_timeout_while(phase, SILENCE, lingers) else {
        return;
    };
    if lingers(&mut phase) {
        eprintln!(
            "waiting for what {} left behind; to interrupt this reports now, and their later \
             syncs will fail (ENOSYS)",
            session.command[0].to_string_lossy()
        );
    }
}

fn is_over(phase: &Phase) -> bool {
    matches!(phase, Phase::Reporting)
}

/// What a signal does.
#[cfg(unix)]
fn on_signal(session: &Session, signal: i32) {
    use fsync_counter::Incomplete;
    use rustix::process::{Pid, Signal, kill_process};

    // One that comes while the command is being started is for the command, too.
    let started = session
        .changed
        .wait_while(session.phase(), |phase| matches!(phase, Phase::Starting));
    let Ok(phase) = started.map(|phase| *phase) else {
        return;
    };
    match phase {
        Phase::Running(process) if signal == signal_hook::consts::SIGTERM => {
            let process = i32::try_from(process).ok().and_then(Pid::from_raw);
            if let Some(process) = process {
                // It may have ended meanwhile.
                _ = kill_process(process, Signal::TERM);
            }
        }
        Phase::Lingering(_) => {
            let code = session
                .report(Some(Incomplete::Outlived))
                .unwrap_or_else(|error| {
                    eprintln!("error: failed to write the report: {error}");
                    FAILED
                });
            process::exit(code.into());
        }
        Phase::Starting | Phase::Running(_) | Phase::Reporting => {}
    }
}

#[cfg(unix)]
fn attend_to_signals(session: &Arc<Session>) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    // Handlers, not "ignore": a program that is started has the default again.
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGQUIT, SIGTERM])?;
    let session = Arc::clone(session);
    thread::Builder::new()
        .spawn(move || {
            for signal in signals.forever() {
                on_signal(&session, signal);
            }
        })
        .map(drop)
}

#[cfg(not(unix))]
fn attend_to_signals(_session: &Arc<Session>) -> io::Result<()> {
    _ = (process::exit as fn(i32) -> !, FAILED);
    Ok(())
}
