"""The vendor's side: `records-gateway sandbox` in a process of its own, which is not measured.

Its Matrix42 stand-in is what every contender calls. The gateway that comes with it, also called `itsm`, gives the tags: a
tag is the same from every replica, so the measured gateway takes them.
"""

import contextlib
import http.client
import json
import re
import subprocess

API_TOKEN = "eyJhbGciOiJIUzI1NiJ9.sandbox-api-token.signature"
CLASS = "SPSScCategoryClassBase"
FRAGMENTS = f"/m42Services/api/data/fragments/{CLASS}"

# With its envelope, 1 KB: short texts, a long one, a flag, numbers that must keep their form, a date, a reference.
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


def ask(address, method, path, body=None, headers=None):
    """One request on a connection of its own; status, header fields, body."""
    connection = http.client.HTTPConnection(address)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    if answer.status >= 300:
        raise RuntimeError(f"{method} {path}: {answer.status} {content[:300]}")
    return answer.headers, content


class StandIn:
    def __init__(self, gateway, vendor, records):
        self.gateway, self.vendor = gateway, vendor
        # Contenders that cannot sign in are given a token that outlives the benchmark.
        ask(vendor, "PUT", "/_sandbox/settings", json.dumps({"token_life_ms": 24 * 60 * 60 * 1000}))
        exchange = "/m42Services/api/ApiToken/GenerateAccessTokenFromApiToken"
        signed_in = ask(vendor, "POST", exchange, "{}", self.json(API_TOKEN))
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
            vendor = re.findall(r"http://([^/]+)/_sandbox/log", line)[-1]
            yield cls(gateway, vendor, records)
        finally:
            process.terminate()
            process.wait()

    @staticmethod
    def json(token):
        return {"Authorization": f"Bearer {token}", "Content-Type": "application/json; charset=utf-8"}

    def create(self):
        _, made = ask(self.vendor, "POST", FRAGMENTS, json.dumps(FIELDS), self.json(self.token))
        return json.loads(made)

    def tag(self, connection, key):
        """The record's present tag at the gateway."""
        connection.request("GET", f"/records/itsm/{CLASS}:{key}")
        answer = connection.getresponse()
        answer.read()
        return answer.headers["ETag"]

    def timestamp(self, connection, key):
        """The record's present version at the vendor."""
        connection.request("GET", f"{FRAGMENTS}/{key}", headers=self.json(self.token))
        return json.loads(connection.getresponse().read())["TimeStamp"]

    def forget_log(self):
        ask(self.vendor, "DELETE", "/_sandbox/log")
