"""The configuration of a gateway in front of the fake vendors of a running `records-gateway sandbox`.

    vendors.py OUTPUT STORE KEY     prints it; OUTPUT is a file with the output of the sandbox
"""

import hashlib
import json
import pathlib
import re
import sys
import urllib.request

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
{systems}"""


def tables(sandbox_output):
    """The table of each system and the address of its fake vendor, which serves the table."""
    for address in re.findall(r"(http://[^/\s]+)/_sandbox/log", sandbox_output):
        with urllib.request.urlopen(f"{address}/_sandbox/system", timeout=30) as response:
            yield response.read().decode(), address


def addresses(sandbox_output):
    """The addresses of the fake vendors by the names of their systems."""
    return {re.match(r"\[systems\.(.+)\]", table)[1]: address for table, address in tables(sandbox_output)}


def configuration(sandbox_output, store, key, server=""):
    """The configuration file; `server` is more lines of `[server]`."""
    return TEMPLATE.format(
        systems="".join(table for table, _ in tables(sandbox_output)), server=server,
        store=json.dumps(f"sqlite:{store}"), digest=hashlib.sha256(key.encode()).hexdigest())


if __name__ == "__main__":
    output, store, key = sys.argv[1:]
    print(configuration(pathlib.Path(output).read_text(encoding="utf-8"), store, key))
