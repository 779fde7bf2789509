//! The allocations of a plane that is built to count them (feature `count-allocations`), told over a Unix socket.
//!
//! For `make bench` alone: no release has it. Whoever connects to the socket that `SENTINEL_BENCH_ALLOCATIONS` names
//! gets one line, "ALLOCATIONS BYTES", since the start.

use std::{
    alloc::System,
    io::{self, Write as _},
    os::unix::net::UnixListener,
    path::Path,
};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Listens on a thread of its own, until the process ends.
///
/// # Errors
/// The socket cannot be bound.
pub(crate) fn tell(socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    std::thread::Builder::new().name("allocations".into()).spawn(move || {
        for asker in listener.incoming() {
            let stats = ALLOCATOR.stats();
            let count = stats.allocations + stats.reallocations;
            // One that hangs up at once has no use for it.
            asker.and_then(|mut stream| writeln!(stream, "{count} {}", stats.bytes_allocated)).ok();
        }
    })?;
    Ok(())
}
