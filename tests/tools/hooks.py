"""Lets the requests that schemathesis generates reach records.

A generated id is 404 and a generated ETag is 412, so nothing behind them would be reached. Where the generated value is valid, most
are replaced here by the id of a sample record, its current ETag, or a patch that its vendor accepts. The choice depends on the
request alone, so the same request is always treated the same.
"""

import os
import re
import unicodedata
import zlib
from functools import cache
from urllib.parse import quote, unquote

import requests
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

# The key of a gateway that requires one.
KEY = os.environ.get("GATEWAY_KEY")
GATEWAY = requests.Session()
if KEY:
    GATEWAY.headers["Authorization"] = f"Bearer {KEY}"

RECORD = "/records/{system}/{id}"
CATEGORY = "SPSScCategoryClassBase"
CATEGORY_ID = f"{CATEGORY}:7777780d-71a0-df11-708c-000c2968299e"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Replaces generated values by real ones, just before a request is sent."""
    if case.meta is None:
        return
    leave_out_cursors(case)
    if is_valid(case, ParameterLocation.BODY):
        complete_body(case)
    if not case.path.startswith("/records/{system}"):
        return
    base = case.operation.base_url.rstrip("/")
    dice = Dice(case)
    if is_valid(case, ParameterLocation.PATH):
        if case.method == "DELETE":
            # The samples are needed until the end, so only new records are deleted.
            if dice.one_in(2):
                delete_a_new_record(base, case)
            return
        if not dice.one_in(5):
            use_a_sample(base, case, dice)
    if case.method == "PATCH":
        if is_valid(case, ParameterLocation.HEADER) and "If-Match" in case.headers and not dice.one_in(4):
            case.headers["If-Match"] = "*" if dice.one_in(4) else current_etag(base, case) or case.headers["If-Match"]
        if is_valid(case, ParameterLocation.BODY) and case.media_type == "application/merge-patch+json" and dice.one_in(2):
            case.body = {"fields": {"Description": f"Generated, {dice.number}"}}


def leave_out_cursors(case):
    """The gateway accepts only cursors that it has issued."""
    if is_valid(case, ParameterLocation.QUERY):
        for name in ("cursor", "since") if case.path == "/changes" else ("cursor",):
            (case.query or {}).pop(name, None)
    if is_valid(case, ParameterLocation.HEADER):
        case.headers.pop("Last-Event-ID", None)


def complete_body(case):
    """Adds what the document describes in prose alone."""
    if case.media_type == "application/json-patch+json":
        # Which paths can change is in the document in prose alone.
        case.body = [{"op": "test", "path": "/fields/Description", "value": case.body}]
    elif case.path in ("/batch", "/batch/preview") and isinstance(case.body, dict):
        case.body.pop("headers", None)
        # 24.0 is an integer to JSON Schema, and a number with a fraction to the gateway.
        if isinstance(case.body.get("concurrency"), float):
            case.body["concurrency"] = int(case.body["concurrency"])
        for item in case.body["items"]:
            item.pop("headers", None)
            # Ids differ from each other, which the document says in prose.
            item.pop("id", None)
            item["path"] = "/records/itsm" if item["method"] == "POST" else f"/records/itsm/{CATEGORY_ID}"


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    """Leaves out control characters: they are rejected everywhere, which no schema of the document says."""
    return has_no_control_character(path_parameters)


@schemathesis.hook
def filter_query(context, query):
    """The same for queries."""
    return has_no_control_character(query)


def has_no_control_character(parameters):
    """Whether no text among the parameters contains a control character, names of filters included."""
    return not any(unicodedata.category(character) == "Cc" for text in texts_of(parameters or {}) for character in text)


def texts_of(value):
    """The texts in a value, decoded."""
    if isinstance(value, str):
        yield unquote(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from texts_of(name)
            yield from texts_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_of(inner)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Leaves out three wrong complaints.

    An empty query parameter counts as absent, so `until=` is not a malformed date-time. A value of another type can be a valid
    Idempotency-Key once it is the text of a header. And schemathesis takes a bare `0` for a valid If-None-Match and If-Plan, which the
    document's patterns exclude. It also takes `/models/contact/schema` for the list of a system that is called schema.
    """
    headers = response.request.headers
    if case.path.endswith("/{system}") and response.request.path_url.partition("?")[0].endswith("/schema"):
        return False
    if isinstance(failure, AcceptedNegativeData):
        return "" not in (case.query or {}).values() and not is_a_key(headers.get("Idempotency-Key"))
    if isinstance(failure, RejectedPositiveData):
        return not any(headers.get(name) in ("0", b"0") for name in ("If-None-Match", "If-Plan"))
    return True


def is_a_key(value):
    """Whether a header holds a key, quoted or bare: a value of another type is one, once it is text."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value or ""
    return re.fullmatch(r'"([!#-\[\]-~]|\\["\\]){1,255}"|[!#-~][!-~]{0,254}', text) is not None


class Dice:
    """Random choices that depend on the request alone."""

    def __init__(self, case):
        parts = (case.method, case.path, case.path_parameters, dict(case.headers), case.query, case.body)
        self.number = zlib.crc32(repr(parts).encode("utf-8", "backslashreplace"))
        self.throws = 0

    def throw(self, sides):
        """A number from 0 to `sides` - 1."""
        self.throws += 1
        return zlib.crc32(f"{self.number} {self.throws}".encode()) % sides

    def one_in(self, sides):
        """True once in `sides` throws."""
        return self.throw(sides) == 0


def is_valid(case, location):
    """Whether that part of the request was generated as valid."""
    info = case.meta.components.get(location)
    return info is not None and info.mode.is_positive


def use_a_sample(base, case, dice):
    """Directs the request to a sample record, or to its system."""
    known = samples(base)
    system, record = known[dice.throw(len(known))]
    case.path_parameters["system"] = system
    if case.path == RECORD:
        case.path_parameters["id"] = record


@cache
def samples(base):
    """The sample records: (system, id)."""
    found = []
    for system in ("crm", "architecture", "itsm"):
        collection = {"collection": CATEGORY} if system == "itsm" else {}
        cursor = {}
        for _ in range(5):
            page = request_ok("GET", f"{base}/records/{system}", params={**collection, **cursor}).json()
            found += [(system, record["id"]) for record in page["items"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
    return found


def current_etag(base, case):
    """The record's current ETag, if there is one."""
    system, record = (quote(str(case.path_parameters[name]), safe="") for name in ("system", "id"))
    return GATEWAY.get(f"{base}/records/{system}/{record}", timeout=35).headers.get("ETag")


def delete_a_new_record(base, case):
    """Creates a record and directs the request to it."""
    body = {"collection": CATEGORY, "fields": {"Name": "To be deleted"}}
    created = request_ok("POST", f"{base}/records/itsm", json=body)
    case.path_parameters.update(system="itsm", id=created.json()["id"])
    if is_valid(case, ParameterLocation.HEADER) and "If-Match" in case.headers:
        case.headers["If-Match"] = created.headers["ETag"]


def request_ok(method, url, **arguments):
    """The response to a request that must succeed."""
    response = GATEWAY.request(method, url, timeout=35, **arguments)
    if not response.ok:
        raise AssertionError(f"{method} {url}: {response.status_code} {response.text!r}")
    return response
