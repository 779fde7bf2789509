//! The loop of `up`: both children, the signals, and the one message, until all have ended.
//!
//! What a child is and when it is started again, `child.rs` knows; what is printed, `next_steps.rs`.

use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::child::{self, Daemon, End, Event, Order, Phase};
use super::next_steps::Running;
use crate::fault::Fault;
use crate::output::Output;

/// The plane drains up to `drain_secs` (20 unless the file says more); then it is ended.
const PATIENCE: Duration = Duration::from_secs(120);
/// The signals that end us, and the one that means "read again".
struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    had_terminal: bool,
}

enum Said {
    End,
    Reload,
}

impl Signals {
    fn new() -> Result<Self, Fault> {
        let failed = |error: std::io::Error| Fault::Failed(format!("signals cannot be heard: {error}"));
        Ok(Self {
            term: signal(SignalKind::terminate()).map_err(failed)?,
            int: signal(SignalKind::interrupt()).map_err(failed)?,
            hup: signal(SignalKind::hangup()).map_err(failed)?,
            had_terminal: has_terminal(),
        })
    }

    async fn next(&mut self) -> Said {
        tokio::select! {
            _ = self.term.recv() => Said::End,
            _ = self.int.recv() => Said::End,
            // A terminal that was closed under us also says SIGHUP: then nobody is left to end us.
            _ = self.hup.recv() => if self.had_terminal && !has_terminal() { Said::End } else { Said::Reload },
        }
    }
}

fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Both children, the signals, and the one message, until all have ended: the plane first, then the control plane.
pub(super) async fn supervise(
    control: Daemon,
    plane: Daemon,
    running: Running,
    output: &mut Output,
) -> Result<(), Fault> {
    let (events_tx, mut events) = mpsc::channel(256);
    let first = Order { phase: Phase::Run, hups: 0 };
    let (control_orders, control_seen) = watch::channel(first);
    // The plane wants `plane.token`, which the control plane makes: it waits for its answer.
    let (plane_orders, plane_seen) = watch::channel(Order { phase: Phase::Hold, ..first });
    let mut control = Box::pin(child::keep(control, control_seen, events_tx.clone())).fuse();
    let mut plane = Box::pin(child::keep(plane, plane_seen, events_tx)).fuse();
    let mut awaiting = Box::pin(running.control_plane()).fuse();
    let mut telling = Box::pin(running.next_steps()).fuse();
    let mut signals = Signals::new()?;
    let mut outcome: Result<(), Fault> = Ok(());
    let (mut control_ended, mut plane_ended) = (false, false);
    let (mut answering, mut told, mut ending) = (false, false, false);
    let patience = tokio::time::sleep(Duration::from_secs(0));
    tokio::pin!(patience);
    while !(control_ended && plane_ended) {
        let mut ended = None;
        tokio::select! {
            Some(event) = events.recv() => match event {
                Event::Line(line) => output.passed_on(&line),
                Event::Note(note) => output.problem(&note),
            },
            end = &mut control, if !control_ended => { control_ended = true; ended = Some(end); }
            end = &mut plane, if !plane_ended => { plane_ended = true; ended = Some(end); }
            reached = &mut awaiting, if !answering && !ending => {
                answering = true;
                match reached {
                    Ok(()) => plane_orders.send_modify(|order| if order.phase == Phase::Hold { order.phase = Phase::Run; }),
                    Err(fault) => { outcome = Err(fault); ending = true; }
                }
            }
            steps = &mut telling, if answering && !told && !ending => {
                told = true;
                steps.print(output);
            }
            said = signals.next() => match said {
                Said::Reload => {
                    // The configuration is the control plane's; a plane prepares whatever it is then sent.
                    control_orders.send_modify(|order| order.hups = order.hups.wrapping_add(1));
                }
                Said::End if ending => {
                    plane_orders.send_modify(|order| order.phase = Phase::Kill);
                    control_orders.send_modify(|order| order.phase = Phase::Kill);
                }
                Said::End => { ending = true; }
            },
            () = &mut patience, if ending => {
                plane_orders.send_modify(|order| order.phase = Phase::Kill);
                control_orders.send_modify(|order| order.phase = Phase::Kill);
                patience.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
            }
        }
        if let Some(End::GaveUp { exit_code, why, last_lines }) = ended {
            ending = true;
            let last: String = last_lines.iter().map(|line| format!("\n  {line}")).collect();
            let sentence = format!("{why}; everything is ended. Its last lines:{last}");
            outcome = Err(if exit_code == 2 { Fault::Usage(sentence) } else { Fault::Failed(sentence) });
        }
        if ending {
            let plane_phase = plane_orders.borrow().phase;
            if matches!(plane_phase, Phase::Hold | Phase::Run) {
                plane_orders.send_modify(|order| order.phase = Phase::End);
                patience.as_mut().reset(tokio::time::Instant::now() + PATIENCE);
                output.note(
                    "ending: the data plane answers what is in flight, then the control plane follows (again: at once)",
                );
            }
            // Last, so that the plane's last records still find it.
            if plane_ended && control_orders.borrow().phase == Phase::Run {
                control_orders.send_modify(|order| order.phase = Phase::End);
            }
        }
    }
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Line(line) => output.passed_on(&line),
            Event::Note(note) => output.problem(&note),
        }
    }
    outcome
}
