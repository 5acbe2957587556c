"""A proxy in front of PostgreSQL that counts statements and round trips, and that can be far away.

It runs as a process of its own, so that the load does not slow it down: `PostgresProxy.running(port)`.
"""

import collections
import contextlib
import json
import queue
import socket
import struct
import subprocess
import sys
import threading
import time

STARTUP = 196608


class Counts:
    """What all connections have sent: executed statements by text, and round trips."""

    def __init__(self):
        self.statements, self.round_trips = collections.Counter(), 0

    def take(self):
        taken, self.statements = self.statements, collections.Counter()
        trips, self.round_trips = self.round_trips, 0
        return {"round_trips": trips, "statements": dict(taken)}


class Client:
    """The bytes of one client. A round trip is its first byte after a byte of the server."""

    def __init__(self, counts):
        self.counts, self.pending, self.started, self.server_spoke = counts, b"", False, True
        self.prepared, self.portals = {}, {}

    def sent(self, data):
        if self.server_spoke:
            self.counts.round_trips += 1
            self.server_spoke = False
        self.pending += data
        while self.take_message():
            pass

    def take_message(self):
        """Takes one message; before the startup message they have no type."""
        head = 1 if self.started else 0
        if len(self.pending) < head + 4:
            return False
        length = head + struct.unpack_from("!I", self.pending, head)[0]
        if len(self.pending) < length:
            return False
        message, self.pending = self.pending[:length], self.pending[length:]
        if self.started:
            self.note(message[:1], message[5:])
        else:
            self.started = struct.unpack_from("!I", message, 4)[0] == STARTUP
        return True

    def note(self, kind, body):
        if kind == b"Q":
            self.counts.statements[text(body)] += 1
        elif kind == b"P":
            name, sql = body.split(b"\0")[:2]
            self.prepared[name] = sql
        elif kind == b"B":
            portal, name = body.split(b"\0")[:2]
            self.portals[portal] = self.prepared.get(name, b"?")
        elif kind == b"E":
            self.counts.statements[text(self.portals.get(body.split(b"\0")[0], b"?"))] += 1


def text(sql):
    return " ".join(sql.split(b"\0")[0].decode(errors="replace").split())


def forward(source, target, delay, note):
    """Passes bytes on, each after the delay, until the source ends."""
    waiting = queue.SimpleQueue()

    def send():
        with contextlib.suppress(OSError):
            while item := waiting.get():
                time.sleep(max(0, item[0] - time.perf_counter()))
                target.sendall(item[1])
            target.shutdown(socket.SHUT_WR)

    threading.Thread(target=send, daemon=True).start()
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            note(data)
            waiting.put((time.perf_counter() + delay, data))
    waiting.put(None)


def serve(connection, server_port, delay, counts):
    server = socket.create_connection(("127.0.0.1", server_port))
    for one in (connection, server):
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client = Client(counts)

    def server_spoke(_):
        client.server_spoke = True

    threading.Thread(target=forward, args=(connection, server, delay / 2, client.sent), daemon=True).start()
    forward(server, connection, delay / 2, server_spoke)


def main(server_port, delay):
    """Prints its port, then the counts since the last line for each line of standard input."""
    counts, listener = Counts(), socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept():
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=serve, args=(connection, server_port, delay, counts), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    for _ in sys.stdin:
        print(json.dumps(counts.take()), flush=True)


class PostgresProxy:
    def __init__(self, process):
        self.process, self.port = process, int(process.stdout.readline())

    @classmethod
    @contextlib.contextmanager
    def running(cls, server_port, delay_ms):
        command = [sys.executable, __file__, str(server_port), str(delay_ms / 1000)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield cls(process)
        finally:
            process.stdin.close()
            process.wait()

    def take(self):
        """Round trips, and statements by text, since it was last called."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
