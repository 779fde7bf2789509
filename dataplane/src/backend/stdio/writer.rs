//! The one task that writes to a process: drains its channel into one write, so that no caller holds a lock over a
//! full pipe (`hot-path.md` 4.7).

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use super::converse::{Conversation, Line, Queue};

/// Lines are gathered up to here; a longer one is written by itself, without a copy.
const GATHERED: usize = 64 << 10;
/// A write that moves nothing for so long means a process that reads nothing.
const STALLED: Duration = Duration::from_secs(5);

/// Why writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriterEnd {
    /// We closed it.
    Hushed,
    /// It closed its stdin.
    Closed,
    Stalled,
}

/// Writes until the conversation is hushed, a closed pipe, or a write that stands still. Owns the pipe: it is closed when this returns.
pub async fn write(
    mut stdin: impl AsyncWrite + Unpin,
    mut lines: mpsc::Receiver<Line>,
    conversation: &Conversation,
) -> WriterEnd {
    let hush = &conversation.hush;
    let mut gathered = BytesMut::with_capacity(4 << 10);
    loop {
        let first = tokio::select! {
            biased;
            () = hush.cancelled() => return WriterEnd::Hushed,
            line = lines.recv() => match line {
                Some(line) => line,
                None => return WriterEnd::Hushed,
            },
        };
        // The runtime runs a task that was just woken before all others: without a step back each line would be a write
        // of its own, and each write wakes the process (measured: 13 % more calls at c = 16 and 64 with it).
        if conversation.waiting.calls() > 1 {
            tokio::task::yield_now().await;
        }
        let (whole, beside) = gather(first, &mut lines, &conversation.queue, &mut gathered);
        let wrote = async {
            put(&mut stdin, whole).await?;
            match beside {
                Some(line) => put(&mut stdin, line).await,
                None => Ok(()),
            }
        };
        tokio::select! {
            biased;
            () = hush.cancelled() => return WriterEnd::Hushed,
            ended = wrote => if let Err(end) = ended { return end },
        }
    }
}

/// All that waits, as one piece; a long line that can't be joined comes second.
fn gather(
    first: Line,
    lines: &mut mpsc::Receiver<Line>,
    queue: &Queue,
    gathered: &mut BytesMut,
) -> (Bytes, Option<Bytes>) {
    queue.took(&first);
    if lines.is_empty() || first.bytes.len() >= GATHERED {
        return (first.bytes, None);
    }
    gathered.extend_from_slice(&first.bytes);
    while gathered.len() < GATHERED
        && let Ok(line) = lines.try_recv()
    {
        queue.took(&line);
        if line.bytes.len() >= GATHERED {
            return (gathered.split().freeze(), Some(line.bytes));
        }
        gathered.extend_from_slice(&line.bytes);
    }
    (gathered.split().freeze(), None)
}

async fn put(stdin: &mut (impl AsyncWrite + Unpin), mut bytes: Bytes) -> Result<(), WriterEnd> {
    while bytes.has_remaining() {
        match timeout(STALLED, stdin.write_buf(&mut bytes)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Err(WriterEnd::Closed),
            Err(_elapsed) => return Err(WriterEnd::Stalled),
        }
    }
    Ok(())
}
