"""Every operation that requires a key in the OpenAPI document is 401 without one and with a wrong one; the others are not.

    keys.py URL KEY
"""

import json
import sys

import requests

URL, KEY = sys.argv[1:]
EXAMPLES = {"system": "itsm", "model": "asset", "collection": "SPSScCategoryClassBase", "id": "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e", "name": "rejected"}
# None of these is the key.
WRONG = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer wrong"},
    {"Authorization": f"Bearer {KEY}x"},
    {"Authorization": f"Bearer {KEY[:-1]}"},
    {"Authorization": f"Bearer {KEY.upper()}"},
    {"Authorization": f"Bearer {KEY} {KEY}"},
    {"Authorization": f"Bearer {KEY},{KEY}"},
    {"Authorization": f"Basic {KEY}"},
    {"Authorization": KEY},
    {"X-Api-Key": KEY},
    {"Cookie": f"Authorization=Bearer {KEY}; key={KEY}"},
]


def send(method, path, fields):
    """The response to a request that is valid but for its credentials."""
    fields = {"If-Match": "*", "Content-Type": "application/merge-patch+json", **fields}
    body = json.dumps({"fields": {}}) if method in ("patch", "post") else None
    return requests.request(method, URL + path, headers=fields, data=body, timeout=35)


def main():
    document = requests.get(URL + "/openapi.json", timeout=35).json()
    errors, protected, public = [], 0, 0
    for template, operations in document["paths"].items():
        path = template.format(**EXAMPLES)
        for method, operation in operations.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            if {} in operation.get("security", document["security"]):
                public += 1
                status = send(method, path, {}).status_code
                if status in (401, 403):
                    errors.append(f"{method} {template} is public in the document, and {status}")
                continue
            protected += 1
            if send(method, path, {"Authorization": f"Bearer {KEY}"}).status_code in (401, 403):
                errors.append(f"{method} {template} rejects the key")
            for fields in WRONG:
                for where in ("", f"?key={KEY}", f"?access_token={KEY}"):
                    response = send(method, path + where, fields)
                    if response.status_code != 401 or not response.headers.get("WWW-Authenticate", "").startswith("Bearer"):
                        errors.append(f"{method} {template}{where} with {fields} is {response.status_code}")
                    elif response.headers["Content-Type"] != "application/problem+json":
                        errors.append(f"{method} {template} with {fields} is no problem document")
    print(f"{protected} operations require a key, {public} do not; {len(WRONG) * 3} wrong credentials were tried on each")
    if not protected:
        errors.append("no operation in the document requires a key")
    sys.exit("\n".join(errors) if errors else 0)


main()
