"""The targets of the benchmark: how each is started and which requests it gets."""

import contextlib
import hashlib
import json
import pathlib
import signal
import socket
import subprocess
import time

from load import request
from fake_vendor import API_TOKEN, CLASS, FIELDS, FRAGMENTS, MERGE_PATCH

HERE = pathlib.Path(__file__).resolve().parent
KEY = "the API key of the benchmark"


class Target:
    needs_nginx = False
    binary = fake_vendor = None

    def __init__(self, name, row, description):
        self.name, self.row, self.description = name, row, description

    @contextlib.contextmanager
    def process(self, command, port, folder):
        """Runs until the block ends. It stops cleanly, because callgrind writes its totals then."""
        with open(folder / "errors", "wb") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=folder)
            try:
                wait_until_listening(process, port, folder)
                yield port
            finally:
                stop(process)


class Gateway(Target):
    def __init__(self, durability, row, description):
        super().__init__(f"gateway {durability}", row, description)
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
            base_url = "http://{self.fake_vendor.vendor}"
            api_token = "{API_TOKEN}"
            """)
        return self.process([*under, self.binary, "serve", "--config", str(folder / "gateway.toml")], port, folder)

    def versions_from(self):
        return self.fake_vendor.gateway

    def get(self, key):
        fields = [f"Authorization: Bearer {KEY}", "Accept: application/json"]
        return request("GET", f"/records/itsm/{CLASS}:{key}", fields)

    def patch(self, key, version_source):
        tag = self.fake_vendor.tag(version_source, key)
        fields = [f"Authorization: Bearer {KEY}", f"If-Match: {tag}", "Content-Type: application/merge-patch+json"]
        return request("PATCH", f"/records/itsm/{CLASS}:{key}", fields, MERGE_PATCH)


class Nginx(Target):
    needs_nginx = True

    def running(self, under, folder):
        port = free_port()
        text = (HERE / f"{self.name}.conf").read_text()
        for word, value in {"FOLDER": folder, "PORT": port, "VENDOR": self.fake_vendor.vendor, "HERE": HERE,
                            "TOKEN": self.fake_vendor.token, "FRAGMENTS": FRAGMENTS}.items():
            text = text.replace(f"@{word}@", str(value))
        (folder / "nginx.conf").write_text(text)
        return self.process([*under, "nginx", "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"], port, folder)

    def versions_from(self):
        return self.fake_vendor.vendor


class Plain(Nginx):
    """No translation: the requests are in the vendor's format."""

    def get(self, key):
        return request("GET", f"{FRAGMENTS}/{key}", [f"Authorization: Bearer {self.fake_vendor.token}"])

    def patch(self, key, version_source):
        body = {"ID": key, "TimeStamp": self.fake_vendor.timestamp(version_source, key), **FIELDS}
        fields = [f"{name}: {value}" for name, value in self.fake_vendor.json(self.fake_vendor.token).items()]
        return request("PUT", FRAGMENTS, fields, json.dumps(body, separators=(",", ":")).encode())


class Lua(Nginx):
    """The bare translation, with the vendor's version as the ETag."""

    def get(self, key):
        return request("GET", f"/records/itsm/{CLASS}:{key}", ["Accept: application/json"])

    def patch(self, key, version_source):
        tag = f'"{self.fake_vendor.timestamp(version_source, key)}"'
        fields = [f"If-Match: {tag}", "Content-Type: application/merge-patch+json"]
        return request("PATCH", f"/records/itsm/{CLASS}:{key}", fields, MERGE_PATCH)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process):
    """Stops the process. nginx misses a signal that arrives just before it waits for events."""
    for _ in range(12):
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(5)
    raise RuntimeError("the process did not stop")


def wait_until_listening(process, port, folder):
    """Waits until the process accepts connections."""
    for _ in range(1200):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"the process did not start: {(folder / 'errors').read_text()}")


ALL = [
    Plain("nginx-plain", "nginx, plain reverse proxy", "no translation"),
    Lua("nginx-lua", "nginx + lua (cjson)", "the bare translation"),
    Gateway("relaxed", "records-gateway, ledger relaxed", "everything of a default configuration"),
    Gateway("durable", "records-gateway, ledger durable", "the same, each intent on disk before its vendor call"),
]
