"""A gateway in a process of its own, in front of the stand-in vendors of a sandbox in another: only the first is measured."""

import contextlib
import http.client
import json
import pathlib
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import vendors  # noqa: E402

KEY = "Key-of-the-benchmark-0123456789"
ITSM = "/records/itsm/SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e"
ARCHITECTURE = "/records/architecture/object-definitions:640b3d7d4a28b925fcf8b9a2"
CRM = "/records/crm?limit=1"


class House:
    """`address` is the gateway's host and port, `pid` its process."""

    def __init__(self, address, pid, printed):
        self.address, self.pid = address, pid
        self.vendors = dict(zip(("crm", "architecture", "itsm"), vendors.addresses(printed)))

    @classmethod
    @contextlib.contextmanager
    def running(cls, binary, server="", systems=None, under=()):
        """`systems` are more lines for a system, by its name; `under` is a command to run gateway and vendors under."""
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder = pathlib.Path(name)
            with (folder / "printed").open("w") as out:
                stack.enter_context(stopped([*under, binary, "sandbox", "--bind", "127.0.0.1:0"], out))
            printed = waited(folder / "printed", "/_sandbox/log")
            text = vendors.configuration(printed, folder / "store.db", KEY, server)
            for system, lines in (systems or {}).items():
                text = text.replace(f"[systems.{system}]", f"[systems.{system}]\n{lines}")
            (folder / "gateway.toml").write_text(text)
            with (folder / "listening").open("w") as out:
                serve = [*under, binary, "serve", "--config", str(folder / "gateway.toml")]
                gateway = stack.enter_context(stopped(serve, out))
            address = waited(folder / "listening", "listening on ").split("http://")[1].split()[0]
            yield cls(address, gateway.pid, printed)

    def hang(self, system):
        """From now on this vendor never answers."""
        self.control(system, "POST", "faults", {"fault": "hang"})

    def recover(self, system):
        """It answers again."""
        self.control(system, "DELETE", "faults")

    def control(self, system, method, what, body=None):
        """Asks a stand-in's control endpoint."""
        connection = http.client.HTTPConnection(self.vendors[system].removeprefix("http://"))
        connection.request(method, f"/_sandbox/{what}", body and json.dumps(body))
        answer = connection.getresponse()
        if answer.status >= 300:
            raise RuntimeError(f"{what}: {answer.status} {answer.read()}")
        connection.close()

    def resident(self):
        """The gateway's memory in KiB."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("the gateway is gone")


@contextlib.contextmanager
def stopped(command, out):
    """A process that is stopped at the end."""
    process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def waited(file, text):
    """What the file holds as soon as the text stands in it."""
    for _ in range(600):
        content = file.read_text()
        if text in content and content.endswith("\n"):
            return content
        time.sleep(0.1)
    raise RuntimeError(f"nothing about {text!r}: {file.read_text()!r}")


def request(path, fields=""):
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n{fields}\r\n".encode()


def ask(connection, asked):
    """Sends a request, which must be answered 200, and reads the answer to its end."""
    connection.sendall(asked)
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(head.decode())
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += received(connection)


def received(connection):
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("the connection was closed")
    return data
