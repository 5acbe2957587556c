"""A gateway in its own process, in front of the fake vendors of a sandbox in another: only the gateway is measured."""

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


class Gateway:
    """`address` is the gateway's host and port, `pid` its process."""

    def __init__(self, address, pid, sandbox_output):
        self.address, self.pid = address, pid
        self.sandbox_output = sandbox_output
        self.vendors = vendors.addresses(sandbox_output)

    @classmethod
    @contextlib.contextmanager
    def running(cls, binary, server="", systems=None, under=(), beside=None):
        """`systems` holds more configuration lines by system; `under` is a command that starts gateway and vendors. `beside`
        is a gateway whose fake vendors this one uses too."""
        with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
            folder = pathlib.Path(name)
            if beside:
                output = beside.sandbox_output
            else:
                with (folder / "printed").open("w") as out:
                    stack.enter_context(run_until_exit([*under, binary, "sandbox", "--bind", "127.0.0.1:0"], out))
                output = wait_for_text(folder / "printed", "/_sandbox/log")
            text = vendors.configuration(output, folder / "store.db", KEY, server)
            for system, lines in (systems or {}).items():
                text = text.replace(f"[systems.{system}]", f"[systems.{system}]\n{lines}")
            (folder / "gateway.toml").write_text(text)
            with (folder / "listening").open("w") as out:
                serve = [*under, binary, "serve", "--config", str(folder / "gateway.toml")]
                gateway = stack.enter_context(run_until_exit(serve, out))
            address = wait_for_text(folder / "listening", "listening on ").split("http://")[1].split()[0]
            yield cls(address, gateway.pid, output)

    def hang(self, system):
        """This vendor does not respond from now on."""
        self.control(system, "POST", "faults", {"fault": "hang"})

    def recover(self, system):
        """The vendor responds again."""
        self.control(system, "DELETE", "faults")

    def control(self, system, method, what, body=None):
        """Sends a request to the control endpoint of a fake vendor."""
        connection = http.client.HTTPConnection(self.vendors[system].removeprefix("http://"))
        connection.request(method, f"/_sandbox/{what}", body and json.dumps(body))
        response = connection.getresponse()
        if response.status >= 300:
            raise RuntimeError(f"{what}: {response.status} {response.read()}")
        connection.close()

    def resident(self):
        """The gateway's memory in KiB."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise RuntimeError("the gateway has ended")


@contextlib.contextmanager
def run_until_exit(command, out):
    """A process that is stopped when the block ends."""
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


def wait_for_text(file, text):
    """The content of the file as soon as it contains the text."""
    for _ in range(600):
        content = file.read_text()
        if text in content and content.endswith("\n"):
            return content
        time.sleep(0.1)
    raise RuntimeError(f"{text!r} is not in {file.read_text()!r}")


def request(path, fields=""):
    """The bytes of a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: gateway\r\nAuthorization: Bearer {KEY}\r\n{fields}\r\n".encode()


def exchange(connection, request_bytes):
    """Sends a request and reads its response, which must be 200, to the end."""
    connection.sendall(request_bytes)
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n")[0]:
        raise RuntimeError(head.decode())
    length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    while len(body) < length:
        body += receive(connection)


def receive(connection):
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("the connection was closed")
    return data
