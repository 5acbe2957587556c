"""The vendor: `records-gateway sandbox` in its own process, which is not measured.

All targets call its Matrix42 fake. Its own gateway, with the system `itsm`, provides the ETags: an ETag is the same from every
replica, so the measured gateway accepts them.
"""

import contextlib
import http.client
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import vendors  # noqa: E402

API_TOKEN = "eyJhbGciOiJIUzI1NiJ9.sandbox-api-token.signature"
CLASS = "SPSScCategoryClassBase"
FRAGMENTS = f"/m42Services/api/data/fragments/{CLASS}"

# 1 KB with its envelope: short texts, a long one, a flag, numbers that keep their form, a date, a reference.
FIELDS = {
    "Name": "Facility Management",
    "Description": "Everything about rooms, keys and lifts. " * 16,
    "Hidden": False,
    "Position": 17,
    "End": "2027-03-31T21:59:59.997Z",
    "DefaultSubject": "A request of Facility Management, to be sorted by the service desk " * 2,
    "Parent": "7777780d-71a0-df11-708c-000c2968299f",
    "Costs": 12.5,
    "ExternalNumber": 12345678901234,
}
MERGE_PATCH = json.dumps({"fields": FIELDS}, separators=(",", ":")).encode()


def send_request(address, method, path, body=None, headers=None):
    """Sends one request on its own connection; returns headers and body."""
    connection = http.client.HTTPConnection(address)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    if response.status >= 300:
        raise RuntimeError(f"{method} {path}: {response.status} {content[:300]}")
    return response.headers, content


class FakeVendor:
    def __init__(self, gateway, vendor, records):
        self.gateway, self.vendor = gateway, vendor
        # Targets that cannot sign in get a token that outlives the benchmark.
        send_request(vendor, "PUT", "/_sandbox/settings", json.dumps({"token_life_ms": 24 * 60 * 60 * 1000}))
        exchange = "/m42Services/api/ApiToken/GenerateAccessTokenFromApiToken"
        signed_in = send_request(vendor, "POST", exchange, "{}", self.json(API_TOKEN))
        self.token = json.loads(signed_in[1])["RawToken"]
        self.keys = [self.create() for _ in range(records)]

    @classmethod
    @contextlib.contextmanager
    def running(cls, binary, records):
        started = [binary, "sandbox", "--bind", "127.0.0.1:0"]
        process = subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        try:
            gateway = process.stdout.readline().split("http://")[1].strip()
            line = next(line for line in process.stdout if "/_sandbox/log" in line)
            yield cls(gateway, vendors.addresses(line)["itsm"].removeprefix("http://"), records)
        finally:
            process.terminate()
            process.wait()

    @staticmethod
    def json(token):
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}

    def create(self):
        _, made = send_request(self.vendor, "POST", FRAGMENTS, json.dumps(FIELDS), self.json(self.token))
        return json.loads(made)

    def tag(self, connection, path):
        """The current ETag of a record, or of a model's document of it, at the gateway."""
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.headers["ETag"]

    def timestamp(self, connection, key):
        """The record's current version at the vendor."""
        connection.request("GET", f"{FRAGMENTS}/{key}", headers=self.json(self.token))
        return json.loads(connection.getresponse().read())["TimeStamp"]

    def clear_log(self):
        send_request(self.vendor, "DELETE", "/_sandbox/log")
