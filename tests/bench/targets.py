"""The targets of the benchmark: how each is started and which requests it gets."""

import base64
import contextlib
import functools
import hashlib
import json
import pathlib
import shutil
import signal
import socket
import subprocess
import time
import uuid

from load import request
from fake_vendor import API_TOKEN, CLASS, FIELDS, FRAGMENTS, MERGE_PATCH, send_request

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = {"valgrind": "valgrind", "nginx": "nginx libnginx-mod-http-lua lua-cjson"}
KEY = "the API key of the benchmark"
KEY_SHA256 = hashlib.sha256(KEY.encode()).hexdigest()


class Target:
    """`request` gives the bytes of one request of a path; `SUCCESS` is the status that each path must get; `PATHS` are those
    whose instructions are counted."""

    SUCCESS = {"patch": 204, "patch with key": 204, "get": 200, "not modified": 304, "list": 200, "model get": 200, "model patch": 204}
    PATHS = ("patch", "get")
    needs_nginx = False
    binary = fake_vendor = pid = None

    def __init__(self, name, row, description):
        self.name, self.row, self.description = name, row, description

    def request(self, path, key, version_source):
        return self.get(key) if path == "get" else self.patch(key, version_source)

    @contextlib.contextmanager
    def process(self, command, port, folder):
        """Runs until the block ends. It stops cleanly, because callgrind writes its totals then."""
        with open(folder / "errors", "wb") as errors:
            process = subprocess.Popen(command, stdout=errors, stderr=errors, cwd=folder)
            try:
                self.pid = process.pid
                wait_until_listening(process, port, folder)
                yield port
            finally:
                stop(process)


MODEL = """
            [models.asset]
            title = "Asset"
            [models.asset.fields]
            name = { type = "string", max_length = 255, example = "Meeting room" }
            description = { type = "string" }
            subject = { type = "string" }
            active = { type = "boolean" }
            position = { type = "integer" }
            parent = { type = "string" }
            cost = { type = "number" }
            number = { type = "integer" }
            ends = { type = "string", format = "date-time" }
            comment = { type = "string" }
            [models.asset.systems.itsm]
            collection = "SPSScCategoryClassBase"
            [models.asset.systems.itsm.map]
            name = "Name"
            description = { at = "Description", none = "" }
            subject = "DefaultSubject"
            active = { at = "Hidden", boolean = { true = [false], false = [true] } }
            position = "Position"
            parent = "Parent"
            cost = "Costs"
            number = "ExternalNumber"
            ends = { at = "End", datetime = "iso" }
            comment = { at = "Comment", read_only = true }
"""


def model_patch():
    """A patch of the model's fields, each time with another name: one that changes nothing is not sent. It leaves out the time,
    which a vendor may spell in several ways, so that no read is needed."""
    fields = {"name": f"Facility {uuid.uuid4()}", "description": FIELDS["Description"], "subject": FIELDS["DefaultSubject"],
              "active": True, "position": FIELDS["Position"], "parent": FIELDS["Parent"], "cost": FIELDS["Costs"],
              "number": FIELDS["ExternalNumber"]}
    return json.dumps({"fields": fields}, separators=(",", ":")).encode()


class Gateway(Target):
    """With a default configuration, but for one worker, so that one thread serves all requests. `lines` adds to the
    configuration, by the line that they follow."""

    store_url = None

    def __init__(self, durability, row, description, paths, name=None, lines=None):
        super().__init__(f"gateway {name or durability}", row, description)
        self.durability = "commit" if durability == "durable" else durability
        self.PATHS, self.lines = paths, lines or {}
        self.port, self.map_part = None, None

    def running(self, under, folder):
        self.port = port = free_port()
        text = f"""
            [server]
            bind = "127.0.0.1:{port}"
            workers = 1
            [store]
            url = "{self.store_url or f'sqlite:{folder}/store.db'}"
            durability = "{self.durability}"
            [access]
            mode = "keys"
            [[access.callers]]
            name = "benchmark"
            key_sha256 = "{KEY_SHA256}"
            allow = ["itsm:*"]
            [systems.itsm]
            vendor = "matrix42"
            base_url = "http://{self.fake_vendor.vendor}"
            api_token = "{API_TOKEN}"
            """
        for after, more in self.lines.items():
            text = text.replace(after, f"{after}\n{more}")
        (folder / "gateway.toml").write_text(text)
        return self.process([*under, self.binary, "serve", "--config", str(folder / "gateway.toml")], port, folder)

    def versions_from(self):
        return self.fake_vendor.gateway

    def request(self, path, key, version_source):
        record, fields = f"/records/itsm/{CLASS}:{key}", [f"Authorization: Bearer {KEY}"]
        if path == "list":
            return request("GET", f"/records/itsm?collection={CLASS}&limit=100", fields)
        if path.startswith("model"):
            record = f"/models/asset/itsm/{CLASS}:{key}"
        if path in ("get", "model get"):
            return request("GET", record, [*fields, "Accept: application/json"])
        tag = self.fake_vendor.tag(version_source, f"/records/itsm/{CLASS}:{key}")
        if path == "model patch":
            tag = self.document_tag(tag)
        if path == "not modified":
            return request("GET", record, [*fields, f"If-None-Match: {tag}"])
        fields += [f"If-Match: {tag}", "Content-Type: application/merge-patch+json"]
        if path == "patch with key":
            fields.append(f'Idempotency-Key: "{uuid.uuid4()}"')
        return request("PATCH", record, fields, model_patch() if path == "model patch" else MERGE_PATCH)


    def document_tag(self, record_tag):
        """The tag of the model's document, from the record's: with the map's fingerprint."""
        if self.map_part is None:
            headers = {"Authorization": f"Bearer {KEY}"}
            _, model = send_request(f"127.0.0.1:{self.port}", "GET", "/models/asset?limit=1", headers=headers)
            fingerprint = json.loads(model)["maps"][0]["fingerprint"]
            self.map_part = base64.urlsafe_b64encode(bytes.fromhex(fingerprint)[:9]).decode()
        return f'"m{record_tag.strip(chr(34))}.{self.map_part}"'


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


class BareTranslation:
    """The gateway's requests, with the vendor's version as the ETag."""

    def versions_from(self):
        return self.fake_vendor.vendor

    def get(self, key):
        fields = [f"Authorization: Bearer {KEY}", "Accept: application/json"]
        return request("GET", f"/records/itsm/{CLASS}:{key}", fields)

    def patch(self, key, version_source):
        tag = f'"{self.fake_vendor.timestamp(version_source, key)}"'
        fields = [f"Authorization: Bearer {KEY}", f"If-Match: {tag}", "Content-Type: application/merge-patch+json"]
        return request("PATCH", f"/records/itsm/{CLASS}:{key}", fields, MERGE_PATCH)


class Lua(BareTranslation, Nginx):
    pass


class Obvious(BareTranslation, Target):
    """The package in `obvious/`: the same durable work, one commit each. `lean` is one thread and one connection to SQLite."""

    def __init__(self, variant, row, description):
        super().__init__(f"obvious {variant}", row, description)
        self.variant = variant

    def running(self, under, folder):
        port = free_port()
        words = [str(port), self.fake_vendor.vendor, API_TOKEN, KEY_SHA256, str(folder / "journal.db"), self.variant]
        return self.process([*under, build_obvious(), *words], port, folder)


def install(tools):
    """Installs missing packages by name."""
    missing = [package for tool in tools if not shutil.which(tool) for package in PACKAGES[tool].split()]
    if missing:
        subprocess.run(["apt-get", "install", "--yes", "--no-install-recommends", *missing], check=True)


def build_gateway():
    """The release binary of this working tree."""
    return build(["cargo", "build", "--release"])


def build_obvious():
    folder = HERE / "obvious"
    return build(["cargo", "build", "--release", "--locked", "--manifest-path", folder / "Cargo.toml", "--target-dir",
                  HERE.parents[1] / "target" / "obvious"])


@functools.cache
def build_command(command):
    command = [*command, "--message-format=json-render-diagnostics"]
    lines = subprocess.run(command, cwd=HERE, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return next(line.split('"executable":"')[1].split('"')[0] for line in lines if '"executable":"' in line)


def build(command):
    """Runs cargo once and returns the executable's path."""
    return build_command(tuple(command))


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
    for _ in range(24_000):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        if process.poll() is not None:
            break
        time.sleep(0.005)
    raise RuntimeError(f"the process did not start: {(folder / 'errors').read_text()}")


DURABLE = Gateway("durable", "records-gateway", "the default configuration",
                  ("patch", "patch with key", "get", "not modified", "list"))
RELAXED = Gateway("relaxed", "records-gateway, relaxed", "the same with `durability = \"relaxed\"`", ("patch", "get"))
# Each is measured beside RELAXED, whose figures vary least.
LIMITED = Gateway("relaxed", "the same with limits", "a caller with a rate and a number in flight", ("get",), "limited",
                  {'name = "benchmark"': "limits = { rate = 1000000, burst = 1000000, in_flight = 1000 }"})
MODELLED = Gateway("relaxed", "the same with a model", "`/models` instead of `/records`", ("model get", "model patch"), "modelled",
                   {f'api_token = "{API_TOKEN}"': MODEL})
PLAIN = Plain("nginx-plain", "nginx, plain reverse proxy", "no translation")
LUA = Lua("nginx-lua", "nginx + lua (cjson)", "the bare translation")
OBVIOUS = Obvious("default", "axum + sqlx, the obvious way", "keys, translation, and two commits a write")
LEAN = Obvious("lean", "the same, lean", "with one thread and one connection to SQLite")
FEATURES = [LIMITED, MODELLED]
ALL = [DURABLE, RELAXED, *FEATURES, OBVIOUS, LEAN, PLAIN, LUA]
