"""What a running process has used: CPU time, bytes to disk, and instructions by the names of its threads."""

import pathlib
import re
import subprocess
import time


def cpu_seconds(pid):
    """User and system time of all threads, those that have ended included."""
    # The clock of another process, as clock_getcpuclockid(3) computes it.
    return time.clock_gettime(~pid << 3 | 2)


def written_bytes(pid):
    """Bytes that the process has caused to be written to a disk; none on a file system in memory."""
    text = pathlib.Path(f"/proc/{pid}/io").read_text()
    return int(re.search(r"^write_bytes: (\d+)$", text, re.MULTILINE)[1])


def file_bytes(folder):
    return sum(one.stat().st_size for one in folder.rglob("*") if one.is_file())


def thread_names(pid):
    """The names of a process's threads by valgrind's numbers, which it gives again when a thread ends."""
    shown = subprocess.run(["vgdb", f"--pid={pid}", "v.info", "scheduler"], check=True, capture_output=True, text=True)
    pairs = re.findall(r"^Thread (\d+): .*\(lwpid (\d+)\)", shown.stdout, re.MULTILINE)
    return {int(number): name_of(pid, int(task)) for number, task in pairs}


def name_of(pid, task):
    """A thread's name without its number. The first thread has valgrind's name."""
    if task == pid:
        return "main"
    name = pathlib.Path(f"/proc/{pid}/task/{task}/comm").read_text().strip()
    # Linux cuts names after 15 characters: `sqlx-sqlite-worker-0` is `sqlx-sqlite-wor`.
    return name.partition("|")[0].rstrip("-:0123456789")


def instructions(folder, names):
    """The instructions of each thread of a callgrind run, by name."""
    found = {}
    for part in [*folder.glob("callgrind.out-*")] or [folder / "callgrind.out"]:
        number = int(part.name.partition("-")[2] or 1)
        name = names.get(number, "ended")
        found[name] = found.get(name, 0) + total(part)
    return found


def total(part):
    """The instructions of one file of callgrind; 0 for a file without figures."""
    totals = re.search(r"^totals: (\d+)", part.read_text(), re.MULTILINE)
    return int(totals[1]) if totals else 0
