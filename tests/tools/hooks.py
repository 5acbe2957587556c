"""Gives the requests that schemathesis makes up a chance to meet a record.

A made-up id is 404 and a made-up tag is 412, so nothing behind them would ever be reached. Where the made-up value is a
right one, most are exchanged here for the id of a sample record, its present tag, or a patch its vendor accepts. Which ones
is decided by the request itself, so that the same request is always treated the same.
"""

import os
import zlib
from functools import cache
from urllib.parse import quote, unquote

import requests
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData
from schemathesis.core.parameters import ParameterLocation
from schemathesis.openapi.checks import RejectedPositiveData

# The key of a gateway that asks for one.
KEY = os.environ.get("GATEWAY_KEY")
GATEWAY = requests.Session()
if KEY:
    GATEWAY.headers["Authorization"] = f"Bearer {KEY}"

RECORD = "/records/{system}/{id}"
CATEGORY = "SPSScCategoryClassBase"


@schemathesis.hook
def before_call(context, case, kwargs):
    """Exchanges made-up values for real ones, just before a request is sent."""
    # The gateway serves a cursor it has given out itself, and no other.
    if case.meta is not None and "cursor" in (case.query or {}) and is_right(case, ParameterLocation.QUERY):
        del case.query["cursor"]
    if case.meta is None or not case.path.startswith("/records/{system}"):
        return
    base = case.operation.base_url.rstrip("/")
    dice = Dice(case)
    if is_right(case, ParameterLocation.PATH):
        if case.method == "DELETE":
            # The samples are needed till the end: what is deleted was made for it.
            if dice.one_in(2):
                delete_a_new_record(base, case)
            return
        if not dice.one_in(5):
            use_a_sample(base, case, dice)
    if case.method == "PATCH":
        if is_right(case, ParameterLocation.HEADER) and "If-Match" in case.headers and not dice.one_in(4):
            case.headers["If-Match"] = "*" if dice.one_in(4) else present_tag(base, case) or case.headers["If-Match"]
        if is_right(case, ParameterLocation.BODY) and case.media_type == "application/merge-patch+json" and dice.one_in(2):
            case.body = {"fields": {"Description": f"Made up, {dice.number}"}}
        if is_right(case, ParameterLocation.BODY) and case.media_type == "application/json-patch+json":
            complete(case.body)


@schemathesis.hook
def filter_path_parameters(context, path_parameters):
    """Leaves out control characters: they are refused wherever they stand, which no schema of the document says."""
    return has_no_control_character(path_parameters)


@schemathesis.hook
def filter_query(context, query):
    """As in paths."""
    return has_no_control_character(query)


def has_no_control_character(parameters):
    """Looks at the texts among some parameters."""
    texts = [unquote(value) for value in (parameters or {}).values() if isinstance(value, str)]
    return not any(character < " " or character == "\x7f" for text in texts for character in text)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Leaves out two complaints that are none.

    An empty query parameter counts as absent, so `until=` is no malformed date-time. And among the values that schemathesis
    calls right is a bare `0` for If-None-Match, which the document's pattern rules out.
    """
    if isinstance(failure, AcceptedNegativeData):
        return "" not in (case.query or {}).values()
    if isinstance(failure, RejectedPositiveData):
        return response.request.headers.get("If-None-Match", "*") not in ("0", b"0")
    return True


class Dice:
    """Throws that depend on nothing but the request."""

    def __init__(self, case):
        said = (case.method, case.path, case.path_parameters, dict(case.headers), case.query, case.body)
        self.number = zlib.crc32(repr(said).encode("utf-8", "backslashreplace"))
        self.throws = 0

    def throw(self, sides):
        """A number from 0 to `sides` - 1."""
        self.throws += 1
        return zlib.crc32(f"{self.number} {self.throws}".encode()) % sides

    def one_in(self, sides):
        """True once in `sides` throws."""
        return self.throw(sides) == 0


def is_right(case, location):
    """Whether that part of the request was meant to be as the document wants it."""
    info = case.meta.components.get(location)
    return info is not None and info.mode.is_positive


def use_a_sample(base, case, dice):
    """Points the request to a sample record, or to the system of one."""
    known = samples(base)
    system, record = known[dice.throw(len(known))]
    case.path_parameters["system"] = system
    if case.path == RECORD:
        case.path_parameters["id"] = record


def complete(json_patch):
    """Adds the members that an operation needs besides `op` and `path`: which ones is said in the document's words alone."""
    for operation in json_patch:
        if operation["op"] in ("move", "copy"):
            operation.setdefault("from", "/fields/Description")
        elif operation["op"] != "remove":
            operation.setdefault("value", None)


@cache
def samples(base):
    """The sample records: (system, id)."""
    found = []
    for system in ("crm", "architecture", "itsm"):
        collection = {"collection": CATEGORY} if system == "itsm" else {}
        cursor = {}
        for _ in range(5):
            page = asked("GET", f"{base}/records/{system}", params={**collection, **cursor}).json()
            found += [(system, record["id"]) for record in page["items"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
    return found


def present_tag(base, case):
    """The record's present tag, if there is one."""
    system, record = (quote(str(case.path_parameters[name]), safe="") for name in ("system", "id"))
    return GATEWAY.get(f"{base}/records/{system}/{record}", timeout=35).headers.get("ETag")


def delete_a_new_record(base, case):
    """Makes a record and points the request to it."""
    body = {"collection": CATEGORY, "fields": {"Name": "To be deleted"}}
    created = asked("POST", f"{base}/records/itsm", json=body)
    case.path_parameters.update(system="itsm", id=created.json()["id"])
    if is_right(case, ParameterLocation.HEADER) and "If-Match" in case.headers:
        case.headers["If-Match"] = created.headers["ETag"]


def asked(method, url, **arguments):
    """An answer that must be a good one."""
    answer = GATEWAY.request(method, url, timeout=35, **arguments)
    if not answer.ok:
        raise AssertionError(f"{method} {url}: {answer.status_code} {answer.text!r}")
    return answer
