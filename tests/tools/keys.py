"""Every operation of the OpenAPI document that asks for a key is 401 without one and with a wrong one; every other is not.

    keys.py URL KEY
"""

import json
import sys

import requests

URL, KEY = sys.argv[1:]
EXAMPLES = {"system": "itsm", "id": "SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e", "name": "rejected"}
# None of these is the key, however near it comes.
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


def asked(method, path, fields):
    """The answer to a request that would be a good one."""
    fields = {"If-Match": "*", "Content-Type": "application/merge-patch+json", **fields}
    body = json.dumps({"fields": {}}) if method in ("patch", "post") else None
    return requests.request(method, URL + path, headers=fields, data=body, timeout=35)


def main():
    document = requests.get(URL + "/openapi.json", timeout=35).json()
    faults, guarded, free = [], 0, 0
    for template, operations in document["paths"].items():
        path = template.format(**EXAMPLES)
        for method, operation in operations.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            if {} in operation.get("security", document["security"]):
                free += 1
                status = asked(method, path, {}).status_code
                if status in (401, 403):
                    faults.append(f"{method} {template} is open to all by the document, and {status}")
                continue
            guarded += 1
            if asked(method, path, {"Authorization": f"Bearer {KEY}"}).status_code in (401, 403):
                faults.append(f"{method} {template} refuses the key")
            for fields in WRONG:
                for where in ("", f"?key={KEY}", f"?access_token={KEY}"):
                    answer = asked(method, path + where, fields)
                    if answer.status_code != 401 or not answer.headers.get("WWW-Authenticate", "").startswith("Bearer"):
                        faults.append(f"{method} {template}{where} with {fields} is {answer.status_code}")
                    elif answer.headers["Content-Type"] != "application/problem+json":
                        faults.append(f"{method} {template} with {fields} is no problem document")
    print(f"{guarded} operations ask for a key, {free} do not; {len(WRONG) * 3} ways to have none were tried on each")
    if not guarded:
        faults.append("the document says of no operation that it asks for a key")
    sys.exit("\n".join(faults) if faults else 0)


main()
