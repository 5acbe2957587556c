"""Reads and changes the model `contact` in two systems with the same lines and typed members: model_python.py BASE_URL"""

import sys
from http import HTTPStatus

from records_gateway_client import Client
from records_gateway_client.api.contact import get_record_of_contact, update_record_of_contact
from records_gateway_client.models import Contact, ContactDocument, ContactPatch, Problem

PEOPLE = [
    ("crm", "20240601090000001a1b2c3d4e5f6a7b8c9d0e1f2a3b4c5"),
    ("sales", "55bb55bb-0000-4000-8000-66cc66cc66c1"),
]


def main(base_url):
    client = Client(base_url=base_url, raise_on_unexpected_status=True)
    for system, person in PEOPLE:
        before = get_record_of_contact.sync(system, person, client=client)
        assert isinstance(before, ContactDocument) and isinstance(before.fields, Contact), before
        before.fields.first_name = f"{before.fields.first_name} B."
        before.fields.email = "someone@example.com"
        body = ContactPatch(fields=before.fields)
        done = update_record_of_contact.sync_detailed(system, person, client=client, body=body, if_match=before.etag)
        assert done.status_code == HTTPStatus.NO_CONTENT, done
        after = get_record_of_contact.sync(system, person, client=client)
        assert after.fields == before.fields and after.etag != before.etag, after
        stale = update_record_of_contact.sync_detailed(system, person, client=client, body=body, if_match=before.etag)
        assert isinstance(stale.parsed, Problem) and stale.status_code == HTTPStatus.PRECONDITION_FAILED, stale
    print("openapi-python-client: one typed Contact in crm and sales: 200, 204, 200, typed 412")


main(sys.argv[1])
