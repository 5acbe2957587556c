"""Reads and changes a record with the client that openapi-python-client generated from the document: client.py BASE_URL

The generated client gets the record and its ETag, changes the record, and reads from a parsed problem that its ETag is stale.
"""

import sys
from http import HTTPStatus

from records_gateway_client import Client
from records_gateway_client.api.records import get_record, update_record
from records_gateway_client.models import MergePatch, Problem, Record

SYSTEM = "itsm"
ID = "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e"


def main(base_url):
    """Reads, changes, and tries to change again with the former ETag."""
    client = Client(base_url=base_url, raise_on_unexpected_status=True)

    read = get_record.sync_detailed(SYSTEM, ID, client=client)
    assert read.status_code == HTTPStatus.OK, read
    assert isinstance(read.parsed, Record), read
    assert read.parsed.fields["Description"] == "Facility Management", read.parsed.fields
    etag = read.headers["ETag"]
    assert read.parsed.etag == etag, read.parsed.etag

    patch = MergePatch.from_dict({"fields": {"Description": "Facilities, by a generated client"}})
    changed = update_record.sync_detailed(SYSTEM, ID, client=client, body=patch, if_match=etag)
    assert changed.status_code == HTTPStatus.NO_CONTENT, changed

    stale = update_record.sync_detailed(SYSTEM, ID, client=client, body=patch, if_match=etag)
    assert stale.status_code == HTTPStatus.PRECONDITION_FAILED, stale
    assert isinstance(stale.parsed, Problem), stale
    assert stale.parsed.type_.endswith("/problems/precondition-failed"), stale.parsed
    assert stale.parsed.status == HTTPStatus.PRECONDITION_FAILED, stale.parsed

    again = get_record.sync_detailed(SYSTEM, ID, client=client)
    assert isinstance(again.parsed, Record), again
    assert again.parsed.fields["Description"] == "Facilities, by a generated client", again.parsed.fields
    assert stale.parsed.current_etag == again.headers["ETag"], stale.parsed

    print(f"the generated client read (200, ETag {etag}), changed (204) and got the problem of a stale ETag (412, {stale.parsed.title!r})")


main(sys.argv[1])
