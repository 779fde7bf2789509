"""Processes as /proc tells them: their trees, their ticks, their memory; starting and ending one. Knows no target."""
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def say(text):
    print(text, file=sys.stderr, flush=True)


def stat_of(pid):
    """(parent, session, ticks) of a process, its reaped children's ticks included; None if gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2:].split()
    if fields[0] == "Z":
        return int(fields[1]), int(fields[3]), 0
    return int(fields[1]), int(fields[3]), sum(int(ticks) for ticks in fields[11:15])


def tree(root):
    """The process, all that descend from it, and all of its session (so also re-parented ones)."""
    known = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = stat_of(entry)
            if stat:
                known[int(entry)] = stat
    members = {pid for pid, stat in known.items() if pid == root or stat[1] == root}
    grown = True
    while grown:
        grown = {pid for pid, stat in known.items() if stat[0] in members and pid not in members}
        members |= grown
    return {pid: known[pid] for pid in members}


def cpu_ticks(root):
    return sum(stat[2] for stat in tree(root).values())


def memory_kb(root):
    """(RSS, PSS) summed over the tree; PSS counts shared pages once."""
    rss = pss = 0
    for pid in tree(root):
        with contextlib.suppress(OSError, ValueError):
            rss += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE // 1024
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    pss += int(line.split()[1])
    return rss, pss


def own_kb(root):
    """RSS of the process, and of its children what they share with nobody: a second process of the same program, as the
    plane's reaper is, maps the same pages of it."""
    kb = int(Path(f"/proc/{root}/statm").read_text().split()[1]) * PAGE // 1024
    for pid in tree(root):
        if pid != root:
            with contextlib.suppress(OSError, ValueError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Private_"):
                        kb += int(line.split()[1])
    return kb


def tell(root, what):
    for pid in tree(root):
        with contextlib.suppress(OSError):
            os.kill(pid, what)


def prefer(root, nice):
    """Sets the weight of every session in a tree. Where the kernel groups by session (autogroup), a
    nice value counts inside its session only: a build at nice 19 next door would get as much as we do."""
    by_session = "1" in Path("/proc/sys/kernel/sched_autogroup_enabled").read_text() if os.path.exists(
        "/proc/sys/kernel/sched_autogroup_enabled"
    ) else False
    for pid in tree(root):
        with contextlib.suppress(OSError):
            if by_session:
                Path(f"/proc/{pid}/autogroup").write_text(str(nice))
            else:  # every thread alike, or a program's main thread would run ahead of its workers
                for thread in os.listdir(f"/proc/{pid}/task"):
                    os.setpriority(os.PRIO_PROCESS, int(thread), nice)


class Process:
    def __init__(self, name, argv, env, cwd, log, core=None):
        self.name = name
        self.log = log
        full = dict(os.environ)
        full.update(env)
        with open(log, "ab") as out:
            self.child = subprocess.Popen(
                [str(word) for word in argv],
                env=full, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )
        self.pid = self.child.pid
        if core is not None:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.pid, {core})

    def alive(self):
        return self.child.poll() is None

    def freeze(self):
        if self.alive():
            tell(self.pid, signal.SIGSTOP)

    def thaw(self):
        tell(self.pid, signal.SIGCONT)

    def stop(self):
        members = list(tree(self.pid))
        self.thaw()
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGTERM)
        end = time.monotonic() + 5
        while time.monotonic() < end and self.alive():
            time.sleep(0.05)
        for pid in set(members) | set(tree(self.pid)):
            stat = stat_of(pid)
            # Only what is still of this session: a number may have been given away meanwhile.
            if stat and stat[1] == self.pid:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(5)

    def tail(self, lines=12):
        with contextlib.suppress(OSError):
            return "\n".join("    " + line for line in Path(self.log).read_text(errors="replace").splitlines()[-lines:])
        return ""


def wait_ready(process, url, seconds, pause=0.1):
    """Any HTTP answer below 500 will do; a refused connection or a dead process will not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not process.alive():
            raise RuntimeError(f"{process.name} ended with status {process.child.returncode}\n{process.tail()}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except urllib.error.HTTPError as error:
            if error.code < 500:
                return
        except (OSError, ValueError):
            pass
        time.sleep(pause)
    raise RuntimeError(f"{process.name} is not ready after {seconds} s\n{process.tail()}")
