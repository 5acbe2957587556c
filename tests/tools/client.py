"""Reads and changes a record with the client that openapi-python-client made of the document: client.py BASE_URL

What is shown: a program that knows the document alone gets the record and its tag, changes it, and learns from a parsed
problem that its tag is stale.
"""

import sys
from http import HTTPStatus

from records_gateway_client import Client
from records_gateway_client.api.records import get_record, update_record
from records_gateway_client.models import MergePatch, Problem, Record

SYSTEM = "itsm"
ID = "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e"


def main(base_url):
    """Read, change, change again with the tag of before."""
    client = Client(base_url=base_url, raise_on_unexpected_status=True)

    read = get_record.sync_detailed(SYSTEM, ID, client=client)
    assert read.status_code == HTTPStatus.OK, read
    assert isinstance(read.parsed, Record), read
    assert read.parsed.fields["Description"] == "Facility Management", read.parsed.fields
    tag = read.headers["ETag"]
    assert read.parsed.etag == tag, read.parsed.etag

    patch = MergePatch.from_dict({"fields": {"Description": "Facilities, by a generated client"}})
    changed = update_record.sync_detailed(SYSTEM, ID, client=client, body=patch, if_match=tag)
    assert changed.status_code == HTTPStatus.NO_CONTENT, changed

    stale = update_record.sync_detailed(SYSTEM, ID, client=client, body=patch, if_match=tag)
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED, stale
    assert isinstance(stale.parsed, Problem), stale
    assert stale.parsed.type_.endswith("/problems/precondition-failed"), stale.parsed
    assert stale.parsed.status == HTTPStatus.PRECONDITION_FAILED, stale.parsed

    again = get_record.sync_detailed(SYSTEM, ID, client=client)
    assert isinstance(again.parsed, Record), again
    assert again.parsed.fields["Description"] == "Facilities, by a generated client", again.parsed.fields
    assert stale.parsed.current_etag == again.headers["ETag"], stale.parsed

    print(f"the generated client read (200, ETag {tag}), changed (204) and met its stale tag (412, {stale.parsed.title!r})")


main(sys.argv[1])
