"""The configuration of a gateway in front of the fake vendors of a running `records-gateway sandbox`.

    vendors.py OUTPUT STORE KEY     prints it; OUTPUT is a file with the output of the sandbox
"""

import hashlib
import json
import pathlib
import re
import sys

COLLECTION = ":".join([
    "202401151030001234a5b6c7d8e9f0a1b2c3d4e5f6g7h8i",
    "20240115104500456g2b3c4d5e6f7a8b9c0d1e2f3a4b5c6",
    "20240925110000789h3c4d5e6f7a8b9c0d1e2f3g8a5b6c7",
])

TEMPLATE = """
[server]
bind = "127.0.0.1:0"
{server}
[store]
url = {store}
[access]
mode = "keys"
[[access.callers]]
name = "tester"
key_sha256 = "{digest}"
allow = ["*:*"]
[systems.crm]
vendor = "pretectum"
base_url = "{pretectum}"
client_id = "sandbox-client"
client_secret = "sandbox-secret-of-the-application-client"
collection = "{collection}"
[systems.architecture]
vendor = "bluedolphin"
base_url = "{bluedolphin}"
tenant = "sandbox"
api_key = "sandbox-user-key"
collection = "object-definitions"
[systems.itsm]
vendor = "matrix42"
base_url = "{matrix42}"
api_token = "eyJhbGciOiJIUzI1NiJ9.sandbox-api-token.signature"
[systems.sales]
vendor = "dataverse"
base_url = "{dataverse}"
authority = "{dataverse}"
tenant_id = "11aa11aa-0000-4000-8000-22bb22bb22bb"
client_id = "33cc33cc-0000-4000-8000-44dd44dd44dd"
client_secret = "sandbox~dataverse+secret/0123456789"
"""


def addresses(sandbox_output):
    """The addresses of the fake vendors, in the order of the sandbox's output: Pretectum, BlueDolphin, Matrix42, Dataverse."""
    return re.findall(r"(http://[^/\s]+)/_sandbox/log", sandbox_output)


def configuration(sandbox_output, store, key, server=""):
    """The configuration file; `server` is more lines of `[server]`."""
    pretectum, bluedolphin, matrix42, dataverse = addresses(sandbox_output)
    return TEMPLATE.format(
        pretectum=pretectum, bluedolphin=bluedolphin, matrix42=matrix42, dataverse=dataverse, collection=COLLECTION, server=server,
        store=json.dumps(f"sqlite:{store}"), digest=hashlib.sha256(key.encode()).hexdigest())


if __name__ == "__main__":
    output, store, key = sys.argv[1:]
    print(configuration(pathlib.Path(output).read_text(encoding="utf-8"), store, key))
