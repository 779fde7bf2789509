//! A member put into a client's JSON file: everything else kept, a backup beside it, whole or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::fault::Fault;
use crate::{backup, jsonc};

/// A client's file is some kilobytes; Claude Code's own may hold years of history.
const LARGEST: u64 = 64 * 1024 * 1024;
/// How often the file may change under us before we give up.
const TRIES: usize = 5;

/// What was done.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) backup: Option<PathBuf>,
    /// A member of this name was there before.
    pub(super) replaced: bool,
    pub(super) readable_by_others: bool,
}

/// What the file would hold: its text with the member in it, whether there was one before, and the text as it is.
/// Errors: `Usage` with line and column for what does not parse, `Failed` for what cannot be read.
pub(super) fn merged(file: &Path, path: &[String], value: &Value) -> Result<(String, bool, Option<String>), Fault> {
    let held = read(file)?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let (text, replaced) = jsonc::set(held.as_deref().unwrap_or_default(), &path, value).map_err(|mistake| {
        Fault::Usage(format!(
            "{}:{mistake}; nothing was changed. Mend it, or add what is printed without --write",
            file.display()
        ))
    })?;
    Ok((text, replaced, held))
}

/// Puts the member in place. Errors: as `merged`, and `Failed` where the folder cannot be written.
pub(super) fn put(file: &Path, path: &[String], value: &Value) -> Result<Written, Fault> {
    // A link stays a link: what it names is written.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let failed = |what: &str, why: &io::Error| Fault::Failed(format!("{what}: {why}; nothing was changed"));
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|why| failed(&folder.display().to_string(), &why))?;
    for _ in 0..TRIES {
        let (text, replaced, held) = merged(file, path, value)?;
        let mode = fs::metadata(file).map_or(0o600, |held| held.permissions().mode() & 0o777);
        let backup = match &held {
            Some(held) => {
                Some(backup::beside(file, held, "before-sentinel", mode).map_err(|why| failed("the backup", &why))?)
            }
            None => None,
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let aside = folder.join(format!(".{name}.sentinel-{}", std::process::id()));
        let _left_by_a_crash = fs::remove_file(&aside).is_ok();
        backup::written(&aside, &text, mode).map_err(|why| failed(&aside.display().to_string(), &why))?;
        // The client may have written meanwhile: then its words go in as well.
        if read(file)? != held {
            let _gone = fs::remove_file(&aside).is_ok();
            let _gone = backup.as_ref().is_some_and(|backup| fs::remove_file(backup).is_ok());
            continue;
        }
        fs::rename(&aside, file).map_err(|why| failed(&file.display().to_string(), &why))?;
        let _synced = File::open(folder).and_then(|folder| folder.sync_all()).is_ok();
        return Ok(Written { backup, replaced, readable_by_others: mode & 0o077 != 0 });
    }
    Err(Fault::Failed(format!("{} changes all the time; quit the client, then try again", file.display())))
}

fn read(file: &Path) -> Result<Option<String>, Fault> {
    match fs::metadata(file) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(held) if held.len() > LARGEST => {
            return Err(Fault::Usage(format!("{} is larger than 64 MiB; that is no configuration", file.display())));
        }
        _ => {}
    }
    fs::read_to_string(file).map(Some).map_err(|why| Fault::Usage(format!("{}: {why}", file.display())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path() -> Vec<String> {
        vec!["mcpServers".to_owned(), "s".to_owned()]
    }

    #[test]
    fn what_was_there_stays_and_lies_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mcp.json");
        fs::write(&file, "{\n  \"mcpServers\": {\"other\": {\"x\": 1.0}}\n}\n").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let done = put(&file, &path(), &json!({ "url": "u" })).unwrap();
        assert!(!done.replaced && done.readable_by_others);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains("\"other\": {\"x\": 1.0}") && text.contains("\"url\": \"u\""), "{text}");
        let backup = done.backup.unwrap();
        assert_eq!(fs::read_to_string(backup).unwrap(), "{\n  \"mcpServers\": {\"other\": {\"x\": 1.0}}\n}\n");
        assert!(put(&file, &path(), &json!({ "url": "v" })).unwrap().replaced);
    }

    #[test]
    fn a_new_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/mcp.json");
        let done = put(&file, &path(), &json!(1)).unwrap();
        assert_eq!(done.backup, None);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_link_stays_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real.json"), dir.path().join("link.json"));
        fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        put(&link, &path(), &json!(1)).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("mcpServers"));
    }

    #[test]
    fn what_does_not_parse_is_left_alone_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mcp.json");
        fs::write(&file, "{\n  \"a\": nope\n}").unwrap();
        let fault = put(&file, &path(), &json!(1)).unwrap_err();
        assert_eq!(fault.exit_code(), 2);
        assert!(fault.to_string().contains("mcp.json:2:8: a value is wanted"), "{fault}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
