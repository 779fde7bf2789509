//! The configuration file, watched: settled whole content that says something else than what is in force is news.
//!
//! It publishes nothing itself. The system's notices (inotify) make it quick; a slow look of its own finds what they do
//! not tell: network filesystems, a folder swapped under the path, a limit of watches that is reached.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::config::MAX_FILE_BYTES;

/// So long nothing may change before the content counts: editors write in several steps.
const SETTLED: Duration = Duration::from_millis(250);
/// From a notice to the look: a folder in which much is written does not make us read all the time.
const PAUSE: Duration = Duration::from_millis(100);
/// A look without a notice.
const LOOK: Duration = Duration::from_secs(2);
/// Links that are followed from the path to the file.
const LINKS: usize = 16;

/// One file, by its path.
pub struct FileWatch {
    path: PathBuf,
    notices: mpsc::Receiver<()>,
    watcher: Option<RecommendedWatcher>,
    /// Folders that are watched now.
    folders: Vec<PathBuf>,
    /// What was told last, or was there at the start; `None`: there was no such file.
    known: Option<Vec<u8>>,
}

impl std::fmt::Debug for FileWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWatch").field("path", &self.path).field("folders", &self.folders).finish_non_exhaustive()
    }
}

impl FileWatch {
    /// From what the file holds now. Where the system gives no notices, it looks by itself.
    pub async fn begin(path: &Path) -> Self {
        // One notice is as good as many: a full channel loses nothing.
        let (tell, notices) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |notice| {
            if is_change(&notice) {
                let _told_already = tell.try_send(()).is_err();
            }
        });
        if let Err(why) = &watcher {
            tracing::warn!(%why, "the system tells no changes of files; the configuration is looked at every 2 s");
        }
        let known = content(path).await;
        let mut watch = Self { path: path.to_owned(), notices, watcher: watcher.ok(), folders: Vec::new(), known };
        watch.follow();
        watch
    }

    /// Waits until the file holds something else, whole and settled. `None`: `stop`. A file that is gone is no news: an
    /// editor may put it back. Cancel safe: what was not told is found again.
    pub async fn changed(&mut self, stop: &CancellationToken) -> Option<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                notice = self.notices.recv(), if self.watcher.is_some() => match notice {
                    Some(()) => tokio::time::sleep(PAUSE).await,
                    None => self.watcher = None,
                },
                () = tokio::time::sleep(LOOK) => {}
            }
            let mut seen = content(&self.path).await;
            if seen == self.known {
                self.follow();
                continue;
            }
            // Until it has stood still: whole content alone.
            loop {
                tokio::select! {
                    () = stop.cancelled() => return None,
                    () = tokio::time::sleep(SETTLED) => {}
                }
                let again = content(&self.path).await;
                if again == seen {
                    break;
                }
                seen = again;
            }
            self.follow();
            if seen.is_some() && seen != self.known {
                self.known = seen;
                return Some(());
            }
        }
    }

    /// Watches the folder of the path, and of each link on the way to the file.
    fn follow(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        let wanted = folders(&self.path);
        for gone in self.folders.iter().filter(|folder| !wanted.contains(folder)) {
            let _was_removed_already = watcher.unwatch(gone).is_err();
        }
        self.folders.retain(|folder| wanted.contains(folder));
        for folder in wanted {
            if !self.folders.contains(&folder) && watcher.watch(&folder, RecursiveMode::NonRecursive).is_ok() {
                self.folders.push(folder);
            }
        }
    }
}

/// Whether a look is worth it. A file that is opened or read is no change: our own looks would call for the next one.
fn is_change(notice: &notify::Result<Event>) -> bool {
    notice.as_ref().map_or(true, |event| !event.kind.is_access())
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut at = path.to_owned();
    for _ in 0..LINKS {
        let folder = match at.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        if !folders.contains(&folder) {
            folders.push(folder.clone());
        }
        match std::fs::read_link(&at) {
            Ok(target) => at = folder.join(target),
            Err(_) => break,
        }
    }
    // The links may lead through folders that are links themselves.
    if let Some(real) = std::fs::canonicalize(path).ok().and_then(|real| Some(real.parent()?.to_owned()))
        && !folders.contains(&real)
    {
        folders.push(real);
    }
    folders
}

/// As much of the file as can be a configuration; `None` where it can't be read.
async fn content(path: &Path) -> Option<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    let file = tokio::fs::File::open(path).await.ok()?;
    file.take(most).read_to_end(&mut bytes).await.ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn hears(watch: &mut FileWatch) -> bool {
        let stop = CancellationToken::new();
        tokio::time::timeout(Duration::from_secs(20), watch.changed(&stop)).await.is_ok_and(|heard| heard.is_some())
    }

    #[tokio::test]
    async fn writes_renames_and_swapped_links_are_heard_once_they_have_settled() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sentinel.toml");
        std::fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::begin(&path).await;
        std::fs::write(&path, "two").unwrap();
        assert!(hears(&mut watch).await);
        std::fs::write(dir.path().join("new"), "three").unwrap();
        std::fs::rename(dir.path().join("new"), &path).unwrap();
        assert!(hears(&mut watch).await);
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join("real"), "four").unwrap();
        std::os::unix::fs::symlink(other.path().join("real"), dir.path().join("link")).unwrap();
        std::fs::rename(dir.path().join("link"), &path).unwrap();
        assert!(hears(&mut watch).await);
        std::fs::write(other.path().join("real"), "five").unwrap();
        assert!(hears(&mut watch).await, "behind the link");
    }

    #[test]
    fn looking_calls_for_no_further_look() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sentinel.toml");
        std::fs::write(&path, "one").unwrap();
        let (tell, told) = std::sync::mpsc::sync_channel(64);
        let mut watcher = notify::recommended_watcher(move |notice| {
            if is_change(&notice) {
                tell.send(notice.unwrap()).unwrap();
            }
        })
        .unwrap();
        watcher.watch(dir.path(), RecursiveMode::NonRecursive).unwrap();
        std::fs::read(&path).unwrap();
        std::fs::rename(&path, dir.path().join("moved")).unwrap();
        let first = told.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(first.kind.is_modify(), "{first:?}");
    }

    #[tokio::test]
    async fn the_same_content_and_a_file_that_is_gone_are_no_news() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sentinel.toml");
        std::fs::write(&path, "one").unwrap();
        let mut watch = FileWatch::begin(&path).await;
        let stop = CancellationToken::new();
        std::fs::write(&path, "one").unwrap();
        std::fs::remove_file(&path).unwrap();
        let quiet = tokio::time::timeout(Duration::from_secs(1), watch.changed(&stop)).await;
        assert!(quiet.is_err());
        std::fs::write(&path, "two").unwrap();
        assert!(hears(&mut watch).await);
        assert_eq!(watch.known.as_deref(), Some(&b"two"[..]));
        stop.cancel();
        assert_eq!(watch.changed(&stop).await, None);
    }
}
