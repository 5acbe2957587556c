"""Who is measured: how each is started and what is sent to it."""

import contextlib
import hashlib
import json
import pathlib
import signal
import socket
import subprocess
import time

from load import request
from standin import API_TOKEN, CLASS, FIELDS, FRAGMENTS, MERGE_PATCH

HERE = pathlib.Path(__file__).resolve().parent
KEY = "a key of the benchmark's one caller"


class Contender:
    needs_nginx = False
    binary = stand_in = None

    def __init__(self, name, row, does):
        self.name, self.row, self.does = name, row, does

    @contextlib.contextmanager
    def process(self, command, port, folder):
        """Runs until the block ends; stops in good order, because that is when callgrind writes its totals."""
        with open(folder / "errors", "wb") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=folder)
            try:
                listening(process, port, folder)
                yield port
            finally:
                stopped(process)


class Gateway(Contender):
    def __init__(self, durability, row, does):
        super().__init__(f"gateway {durability}", row, does)
        self.durability = "commit" if durability == "durable" else durability

    def running(self, under, folder):
        port = free_port()
        (folder / "gateway.toml").write_text(f"""
            [server]
            bind = "127.0.0.1:{port}"
            workers = 1
            [store]
            url = "sqlite:{folder}/store.db"
            durability = "{self.durability}"
            [access]
            mode = "keys"
            [[access.callers]]
            name = "benchmark"
            key_sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"
            allow = ["itsm:*"]
            [systems.itsm]
            vendor = "matrix42"
            base_url = "http://{self.stand_in.vendor}"
            api_token = "{API_TOKEN}"
            """)
        return self.process([*under, self.binary, "serve", "--config", str(folder / "gateway.toml")], port, folder)

    def versions_from(self):
        return self.stand_in.gateway

    def get(self, key):
        fields = [f"Authorization: Bearer {KEY}", "Accept: application/json"]
        return request("GET", f"/records/itsm/{CLASS}:{key}", fields)

    def patch(self, key, beside):
        tag = self.stand_in.tag(beside, key)
        fields = [f"Authorization: Bearer {KEY}", f"If-Match: {tag}", "Content-Type: application/merge-patch+json"]
        return request("PATCH", f"/records/itsm/{CLASS}:{key}", fields, MERGE_PATCH)


class Nginx(Contender):
    needs_nginx = True

    def running(self, under, folder):
        port = free_port()
        text = (HERE / f"{self.name}.conf").read_text()
        for word, value in {"FOLDER": folder, "PORT": port, "VENDOR": self.stand_in.vendor, "HERE": HERE,
                            "TOKEN": self.stand_in.token, "FRAGMENTS": FRAGMENTS}.items():
            text = text.replace(f"@{word}@", str(value))
        (folder / "nginx.conf").write_text(text)
        return self.process([*under, "nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], port, folder)

    def versions_from(self):
        return self.stand_in.vendor


class Plain(Nginx):
    """Nothing is translated: the callers speak the vendor's language."""

    def get(self, key):
        return request("GET", f"{FRAGMENTS}/{key}", [f"Authorization: Bearer {self.stand_in.token}"])

    def patch(self, key, beside):
        body = {"ID": key, "TimeStamp": self.stand_in.timestamp(beside, key), **FIELDS}
        fields = [f"{name}: {value}" for name, value in self.stand_in.json(self.stand_in.token).items()]
        return request("PUT", FRAGMENTS, fields, json.dumps(body, separators=(",", ":")).encode())


class Lua(Nginx):
    """The bare translation, with the vendor's version as the tag."""

    def get(self, key):
        return request("GET", f"/records/itsm/{CLASS}:{key}", ["Accept: application/json"])

    def patch(self, key, beside):
        tag = f'"{self.stand_in.timestamp(beside, key)}"'
        fields = [f"If-Match: {tag}", "Content-Type: application/merge-patch+json"]
        return request("PATCH", f"/records/itsm/{CLASS}:{key}", fields, MERGE_PATCH)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stopped(process):
    """Ends it. nginx misses a signal that comes just before it begins to wait for events."""
    for _ in range(12):
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(5)
    raise RuntimeError("it did not stop")


def listening(process, port, folder):
    """Waits until the process takes connections."""
    for _ in range(1200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"it did not start: {(folder / 'errors').read_text()}")


ALL = [
    Plain("nginx-plain", "nginx, plain reverse proxy", "no translation"),
    Lua("nginx-lua", "nginx + lua (cjson)", "the bare translation"),
    Gateway("relaxed", "records-gateway, ledger relaxed", "everything of a default configuration"),
    Gateway("durable", "records-gateway, ledger durable", "the same, each intent on disk before it is sent"),
]
