"""Disks: this machine's own, and the same with slower flushes; and a PostgreSQL on one of them."""

import contextlib
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BLOCK = """
import os, statistics, sys, tempfile, time
with tempfile.TemporaryFile(dir=sys.argv[1]) as file:
    took = []
    for _ in range(40):
        file.write(bytes(4096))
        file.flush()
        since = time.perf_counter()
        os.fdatasync(file.fileno())
        took.append(time.perf_counter() - since)
print(statistics.median(took) * 1000)
"""


class Disk:
    """`under` is the command that starts a program on this disk."""

    def __init__(self, name, under):
        self.name, self.under = name, under

    def flush_ms(self, folder):
        """The median of 40 flushes of 4 KB."""
        output = subprocess.run([*self.under, sys.executable, "-c", BLOCK, folder], check=True, stdout=subprocess.PIPE)
        return float(output.stdout)


def disks(slow_ms, folder):
    """This machine's disk, and the same with flushes that take `slow_ms` longer."""
    library = pathlib.Path(folder) / "slow_flush.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "slow_flush.c", "-ldl"], check=True)
    slow = ["env", f"LD_PRELOAD={library}", f"SLOW_FLUSH_US={slow_ms * 1000}"]
    return [Disk("this machine's disk", []), Disk(f"a disk whose flush takes {slow_ms} ms longer", slow)]


@contextlib.contextmanager
def postgres(disk, folder):
    """An empty server with default flushes; yields the URL of its database."""
    tools = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not tools:
        subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", "postgresql"], check=True)
        tools = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    tools = tools[-1].parent
    data = tempfile.mkdtemp(dir=folder)
    # The server refuses to run as root.
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_postgres:
        shutil.chown(data, "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def run(command):
        quiet = {"check": True, "cwd": data, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run([*as_postgres, *command], **quiet)

    run([tools / "initdb", "--pgdata", f"{data}/db", "--username", "postgres", "--auth", "trust", "--no-sync"])
    control = [tools / "pg_ctl", "--pgdata", f"{data}/db", "--wait"]
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={data}"
    run([*disk.under, *control, "--log", f"{data}/log", "start", "--options", options])
    try:
        yield f"postgres://postgres@127.0.0.1:{port}/postgres"
    finally:
        run([*control, "--mode", "immediate", "stop"])
        shutil.rmtree(data)
