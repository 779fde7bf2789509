//! The example server on stdin and stdout: one message a line. Ends at the end of its input.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{OUTBOX, Server, Session};

/// Until the input ends; what is still being worked on then is dropped. Errors: as of reading and writing.
pub async fn serve(server: Arc<Server>) -> io::Result<()> {
    let tasks = TaskTracker::new();
    let (out, outbox) = mpsc::channel(OUTBOX);
    server.listen(out.clone());
    let session = Session::new(server);
    let writer = tasks.spawn(write(outbox));
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        // In order: a cancel that follows a call finds it.
        let work = session.accept(&line);
        let (session, out) = (Arc::clone(&session), out.clone());
        tasks.spawn(async move { Box::pin(session.run(work, &out)).await });
    }
    writer.abort();
    Ok(())
}

async fn write(mut outbox: mpsc::Receiver<String>) -> io::Result<()> {
    let mut stdout = tokio::io::stdout();
    while let Some(message) = outbox.recv().await {
        stdout.write_all(message.as_bytes()).await?;
        stdout.write_all(b"\n").await?;
        stdout.flush().await?;
    }
    Ok(())
}
