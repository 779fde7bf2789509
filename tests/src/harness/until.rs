//! Waiting on a condition: level and not edge, with a deadline and the last status seen. The one place where tests let
//! time pass.

use std::fmt::Debug;
use std::time::Duration;

use tokio::time::Instant;

/// Long, because the machine may be busy with other tests; a condition that holds costs none of it.
pub const DEADLINE: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(20);

/// Asks until the answer is `Ok`. Panics after `DEADLINE`, with what was waited for and the last `Err`.
pub async fn until<T, S: Debug>(what: &str, ask: impl AsyncFnMut() -> Result<T, S>) -> T {
    until_within(DEADLINE, what, ask).await
}

/// As `until`, with a deadline of its own.
pub async fn until_within<T, S: Debug>(
    deadline: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Result<T, S>,
) -> T {
    let end = Instant::now() + deadline;
    loop {
        match ask().await {
            Ok(found) => return found,
            Err(last) if Instant::now() > end => {
                panic!("waited {} s until {what}; the last status was {last:?}", deadline.as_secs())
            }
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// For conditions that are plain questions.
pub fn holds(condition: bool) -> Result<(), bool> {
    if condition { Ok(()) } else { Err(false) }
}
