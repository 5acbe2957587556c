"""Reads and changes a record with the client that openapi-python-client generates: openapi_python_client.py BASE_URL"""

import sys
from http import HTTPStatus

from records_gateway_client import Client
from records_gateway_client.api.records import get_record, list_records, update_record
from records_gateway_client.models import ListRecordsFilter, MergePatch, Operation, Problem, ProblemType, StoredRecord

SYSTEM = "itsm"
COLLECTION = "SPSScCategoryClassBase"
ID = f"{COLLECTION}:7777780d-71a0-df11-708c-000c2968299e"


def main(base_url):
    client = Client(base_url=base_url, raise_on_unexpected_status=True)

    def get():
        response = get_record.sync_detailed(SYSTEM, ID, client=client)
        assert response.status_code == HTTPStatus.OK, response
        assert isinstance(response.parsed, StoredRecord), response
        assert response.parsed.etag == response.headers["ETag"], response
        return response.parsed

    def patch(description, etag, **headers):
        body = MergePatch.from_dict({"fields": {"Description": description}})
        return update_record.sync_detailed(SYSTEM, ID, client=client, body=body, if_match=etag, **headers)

    first = get()
    done = patch("Facilities, by openapi-python-client", first.etag)
    assert done.status_code == HTTPStatus.NO_CONTENT, done

    shown = patch("Facilities and rooms", get().etag, prefer="return=representation")
    assert isinstance(shown.parsed, StoredRecord) and shown.status_code == HTTPStatus.OK, shown
    assert shown.parsed.fields["Description"] == "Facilities and rooms", shown.parsed

    stale = patch("never", first.etag)
    assert isinstance(stale.parsed, Problem) and stale.status_code == HTTPStatus.PRECONDITION_FAILED, stale
    assert stale.parsed.type_ == ProblemType("/problems/precondition-failed"), stale.parsed

    # The generator leaves out a body that is a list; the client sends it all the same.
    operations = [{"op": "replace", "path": "/fields/Description", "value": "Facilities, by a JSON Patch"}]
    headers = {"If-Match": "*", "Content-Type": "application/json-patch+json"}
    patched = client.get_httpx_client().patch(f"/records/{SYSTEM}/{ID}", json=operations, headers=headers)
    assert patched.status_code == HTTPStatus.NO_CONTENT, patched.text
    assert get().fields["Description"] == "Facilities, by a JSON Patch"

    accepted = patch("Facilities, later", "*", prefer="respond-async")
    assert isinstance(accepted.parsed, Operation) and accepted.status_code == HTTPStatus.ACCEPTED, accepted

    # The generator does not know deepObject: the names are those of the query.
    facilities = ListRecordsFilter.from_dict({"filter[Name]": "Facility Management"})
    page = list_records.sync(SYSTEM, client=client, collection=COLLECTION, filter_=facilities)
    assert [record.id for record in page.items] == [ID], page

    print("openapi-python-client: 200, 204, 200 with the record, typed 412, JSON Patch, 202, a filtered list")


main(sys.argv[1])
