//! What sets a child apart from the plane: another user, and a sandbox by bubblewrap (`bwrap`), in which it sees the
//! system's programs and what is named, and no more. What that means is decided here; nothing is started but the one
//! try whether a sandbox can be had.

use std::{
    ffi::{CString, OsStr, OsString},
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nix::unistd;

use super::stderr::escaped;

/// Whom a child runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// All of them.
    pub groups: Vec<u32>,
    pub home: PathBuf,
}

/// What a child sees beside the system's programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    pub bwrap: PathBuf,
    /// The plane's network; else none.
    pub network: bool,
    pub read: Vec<PathBuf>,
    pub write: Vec<PathBuf>,
}

/// Programs and what they are made of.
const PROGRAMS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Of /etc: names, addresses, certificates, fonts. None of it is secret, and Sentinel's own folder is not in it.
const SETTINGS: [&str; 22] = [
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "chromium",
    "chromium.d",
    "fonts",
    "gai.conf",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki",
    "resolv.conf",
    "ssl",
    "timezone",
];
/// Bits of `CapEff` in /proc/self/status: to become another, and to signal what became one.
const NEEDED: [(u32, &str); 3] = [(7, "CAP_SETUID"), (6, "CAP_SETGID"), (5, "CAP_KILL")];

impl User {
    /// By name or number. Errors: why its processes can't be started here, as a sentence.
    pub fn find(wanted: &str) -> Result<Self, String> {
        let found = match wanted.parse() {
            Ok(uid) => unistd::User::from_uid(unistd::Uid::from_raw(uid)),
            Err(_) => unistd::User::from_name(wanted),
        };
        let user =
            found.ok().flatten().ok_or_else(|| format!("there is no user {wanted} on this data plane; make one"))?;
        if user.uid.is_root() {
            return Err("root may read Sentinel's keys; name a user of its own".to_owned());
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let lacking: Vec<&str> = lacking(&status).collect();
        if !lacking.is_empty() {
            let lacking = lacking.join(", ");
            return Err(format!(
                "this data plane can't start a process as another user: it lacks {lacking}; run it as root, or take `user` out"
            ));
        }
        let name = CString::new(user.name.as_str()).map_err(|_| "its name holds a NUL".to_owned())?;
        let groups = unistd::getgrouplist(&name, user.gid);
        let groups = groups.map_err(|fault| format!("the groups of {wanted} can't be read: {fault}"))?;
        Ok(Self {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(unistd::Gid::as_raw).collect(),
            home: user.dir,
        })
    }

    /// Where it stands when nothing else is said.
    pub(super) fn place(&self) -> PathBuf {
        if self.home.is_dir() { self.home.clone() } else { PathBuf::from("/") }
    }
}

fn lacking(status: &str) -> impl Iterator<Item = &'static str> {
    let effective = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    let effective = effective.unwrap_or(0);
    NEEDED.iter().filter(move |(bit, _)| (effective >> bit) & 1 == 0).map(|(_, name)| *name)
}

impl Sandbox {
    /// Whether one can be made here, by making one. Errors: why not, as a sentence.
    pub fn try_out(&self, user: Option<&User>) -> Result<(), String> {
        let mut command = Command::new(&self.bwrap);
        command.args(self.walls()).args(["--ro-bind", "/", "/", "--", "true"]);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).current_dir("/");
        command.stdin(Stdio::null());
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        let tried = command.output().map_err(|fault| format!("{} can't be started: {fault}", self.bwrap.display()))?;
        if tried.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&tried.stderr);
        let said: String = said.lines().next_back().unwrap_or("it says nothing").chars().take(200).collect();
        let said = escaped(&said);
        Err(format!(
            "bwrap can make no sandbox on this data plane: {said}; it needs user namespaces (a unit's RestrictNamespaces= and most containers forbid them)"
        ))
    }

    /// Whether a program is in sight inside, at its own place and where it leads to.
    pub fn shows(&self, program: &Path) -> bool {
        let is_shown = |path: &Path| {
            let named = self.read.iter().chain(&self.write).map(PathBuf::as_path);
            PROGRAMS.iter().map(Path::new).chain(named).any(|shown| path.starts_with(shown))
        };
        is_shown(program) && fs::canonicalize(program).is_ok_and(|real| is_shown(&real))
    }

    /// Of the paths that are named: one that holds `folder`, or is within it.
    pub fn opens(&self, folder: &Path) -> Option<&Path> {
        let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = real(folder);
        self.read.iter().chain(&self.write).map(PathBuf::as_path).find(|path| {
            let path = real(path);
            folder.starts_with(&path) || path.starts_with(&folder)
        })
    }

    /// Namespaces, and the end with the plane.
    fn walls(&self) -> Vec<OsString> {
        // A session of its own: who has our terminal could type into it.
        let mut walls = vec!["--die-with-parent", "--new-session", "--cap-drop", "ALL", "--unshare-all"];
        if self.network {
            walls.push("--share-net");
        }
        walls.into_iter().map(OsString::from).collect()
    }

    /// What stands between `bwrap` and the program. `own`: its own folder, which it may change; `cwd`: where it stands.
    pub(super) fn arguments(&self, own: &Path, cwd: &Path) -> Vec<OsString> {
        let mut all = self.walls();
        let mut add = |words: &[&OsStr]| all.extend(words.iter().map(OsString::from));
        let word = OsStr::new;
        for path in PROGRAMS.map(OsStr::new) {
            match fs::read_link(path) {
                Ok(target) => add(&[word("--symlink"), target.as_os_str(), path]),
                Err(_) => add(&[word("--ro-bind-try"), path, path]),
            }
        }
        for name in SETTINGS {
            let path = OsString::from(format!("/etc/{name}"));
            add(&[word("--ro-bind-try"), &path, &path]);
        }
        add(&["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--dir", "/var/tmp"].map(OsStr::new));
        for path in &self.read {
            add(&[word("--ro-bind"), path.as_os_str(), path.as_os_str()]);
        }
        for path in &self.write {
            add(&[word("--bind"), path.as_os_str(), path.as_os_str()]);
        }
        if own != Path::new("/") {
            add(&[word("--bind"), own.as_os_str(), own.as_os_str()]);
        }
        add(&[word("--chdir"), cwd.as_os_str(), word("--")]);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(read: &[&str]) -> Sandbox {
        let read = read.iter().map(PathBuf::from).collect();
        Sandbox { bwrap: "bwrap".into(), network: false, read, write: Vec::new() }
    }

    #[test]
    fn capabilities_that_are_lacking_are_named() {
        assert_eq!(lacking("CapEff:\t000001ffffffffff\n").count(), 0);
        assert_eq!(lacking("CapEff:\t0000000000000080\n").collect::<Vec<_>>(), ["CAP_SETGID", "CAP_KILL"]);
        assert_eq!(lacking("").count(), 3);
    }

    #[test]
    fn a_program_is_in_sight_at_its_place_and_where_it_leads_to_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("tool");
        std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
        let here = folder.path().to_str().unwrap();
        assert!(sandbox(&[]).shows(Path::new("/bin/sh")) && !sandbox(&[]).shows(&link));
        assert!(sandbox(&[here]).shows(&link));
        assert!(!sandbox(&[here]).shows(&folder.path().join("absent")));
    }

    #[test]
    fn a_path_that_opens_the_keys_is_found_from_above_from_below_and_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir_all(data.join("plane")).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&data, &link).unwrap();
        for path in [folder.path(), &data, &data.join("plane"), &link, Path::new("/")] {
            assert!(sandbox(&[path.to_str().unwrap()]).opens(&data).is_some(), "{}", path.display());
        }
        assert!(sandbox(&[folder.path().join("other").to_str().unwrap()]).opens(&data).is_none());
    }

    #[test]
    fn nothing_of_the_network_is_shared_unless_it_is_said() {
        let has = |sandbox: &Sandbox, word: &str| {
            sandbox.arguments(Path::new("/own"), Path::new("/own")).iter().any(|argument| argument == word)
        };
        let closed = sandbox(&[]);
        assert!(has(&closed, "--unshare-all") && !has(&closed, "--share-net"));
        assert!(has(&Sandbox { network: true, ..closed }, "--share-net"));
    }
}
