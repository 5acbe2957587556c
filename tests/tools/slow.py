"""Attacks that hold connections: slow heads, slow bodies, slow readers (slowhttptest).

    slow.py URL PID        a running sandbox and its process

During each attack other callers send requests over connections of their own. The test fails if one of them gets no response in time,
if slowhttptest itself finds the service unavailable, if the process's memory grows beyond a limit, or if connections of the attack
are still open some time after it.
"""

import csv
import http.client
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from urllib.parse import urlsplit

URL, PID = sys.argv[1], int(sys.argv[2])
HOST = urlsplit(URL).netloc
RECORD = "/records/itsm/SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e"
BUNDLE = "/docs/swagger-ui-bundle.js"

CALLERS = 500
SECONDS = 9
# The timeout of other callers. Without load, a response takes some milliseconds.
TIMEOUT = 5.0
# By how many bytes the memory may grow; 500 idle connections take some 10 MB.
MAX_GROWTH = 96 * 1024 * 1024

# Connections to the vendors, both ends, that are kept for the next call.
IDLE_CONNECTIONS = 20

ATTACKS = {
    "slow heads": ["-H", "-i", "1", "-t", "GET", "-u", URL + RECORD],
    "slow bodies": ["-B", "-i", "1", "-s", "8192", "-x", "10", "-t", "PATCH", "-f", "application/merge-patch+json",
                    "-u", URL + RECORD],
    "slow readers": ["-X", "-n", "2", "-z", "32", "-w", "256", "-y", "512", "-k", "3", "-t", "GET", "-u", URL + BUNDLE],
}


def resident():
    """The process's memory in bytes."""
    pages = pathlib.Path(f"/proc/{PID}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def connections():
    """How many sockets the process has."""
    held = 0
    for entry in pathlib.Path(f"/proc/{PID}/fd").iterdir():
        try:
            held += os.readlink(entry).startswith("socket:")
        except OSError:
            pass
    return held


class OtherCaller(threading.Thread):
    """A caller that sends request after request, each over a new connection."""

    def __init__(self):
        super().__init__()
        self.stop, self.times, self.failures, self.max_memory = threading.Event(), [], [], 0

    def run(self):
        while not self.stop.wait(0.1):
            for path in ("/healthz", RECORD):
                begun = time.monotonic()
                connection = http.client.HTTPConnection(HOST, timeout=TIMEOUT)
                try:
                    connection.request("GET", path)
                    status = connection.getresponse().status
                    if status != 200:
                        self.failures.append(f"{path}: {status}")
                except OSError as failure:
                    self.failures.append(f"{path}: {failure!r} after {time.monotonic() - begun:.1f} s")
                finally:
                    connection.close()
                self.times.append(time.monotonic() - begun)
            self.max_memory = max(self.max_memory, resident())


def attack(name, arguments):
    """Runs one attack; prints the result and returns the failures."""
    before, sockets = resident(), connections()
    other = OtherCaller()
    other.start()
    with tempfile.TemporaryDirectory() as folder:
        command = ["slowhttptest", *arguments, "-c", str(CALLERS), "-r", "250", "-l", str(SECONDS), "-p", "5",
                   "-g", "-o", f"{folder}/out"]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        with open(f"{folder}/out.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    other.stop.set()
    other.join()
    failures = other.failures[:3]
    if not rows:
        failures.append("slowhttptest measured nothing")
    elif any(int(row["Service Available"]) == 0 for row in rows):
        failures.append("slowhttptest found the service unavailable")
    elif max(int(row["Connected"]) for row in rows) < CALLERS // 5:
        failures.append("the attack did not get its connections")
    grown = other.max_memory - before
    if grown > MAX_GROWTH:
        failures.append(f"memory grew by {grown >> 20} MiB")
    until = time.monotonic() + 15
    while connections() > sockets + IDLE_CONNECTIONS and time.monotonic() < until:
        time.sleep(0.1)
    if connections() > sockets + IDLE_CONNECTIONS:
        failures.append(f"{connections() - sockets} connections are still open")
    slowest = max(other.times, default=0.0)
    print(f"{name}: {CALLERS} callers for {SECONDS} s; {len(other.times)} other requests, the slowest in "
          f"{slowest * 1000:.0f} ms; memory +{max(grown, 0) >> 20} MiB", flush=True)
    return [f"{name}: {failure}" for failure in failures]


def main():
    failures = [failure for name, arguments in ATTACKS.items() for failure in attack(name, arguments)]
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


main()
