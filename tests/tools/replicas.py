"""Two replicas behind nginx, as the profile `postgres` of deploy/compose.yaml has them.

    replicas.py config OUTPUT KEY POSTGRES_URL        prints the replicas' configuration
    replicas.py nginx CONF ADDRESS ADDRESS PORT       prints deploy/compose/nginx.conf for these addresses
    replicas.py test URL KEY PID                      sends requests, and kills one replica (PID) meanwhile
"""

import json
import os
import pathlib
import re
import signal
import sys
import time
import urllib.error
import urllib.request

import vendors

RECORD = "records/itsm/SPSScCategoryClassBase:7777780d-71a0-df11-708c-000c2968299e"


def config(output, key, postgres):
    text = vendors.configuration(pathlib.Path(output).read_text(encoding="utf-8"), "unused", key)
    print(re.sub(r'url = "sqlite:unused"', f"url = {json.dumps(postgres)}", text))


def nginx(file, first, second, port):
    text = pathlib.Path(file).read_text(encoding="utf-8")
    replaced = text.replace("gateway-1:8080", first).replace("gateway-2:8080", second)
    replaced = replaced.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    assert replaced.count("127.0.0.1:") == 3, "the configuration names other addresses than this test knows"
    print(re.sub(r"/tmp/", f"{pathlib.Path.cwd()}/nginx-", replaced))


def send(url, method, path, key, body=None, **headers):
    names = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/{path}", data, names, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def patch(url, key, text, idempotency):
    return send(url, "PATCH", RECORD, key, {"fields": {"Description": text}}, If_Match="*",
                Content_Type="application/merge-patch+json", Idempotency_Key=f'"{idempotency}"')


def test(url, key, pid):
    assert send(url, "GET", "readyz", key)[0] == 200
    # One key, whichever replica gets the request: the write is made once.
    answers = [patch(url, key, "once", "first") for _ in range(6)]
    assert [status for status, _, _ in answers] == [204] * 6, answers
    replayed = sum(headers.get("idempotency-replayed") == "true" for _, headers, _ in answers)
    assert replayed == 5, f"{replayed} of 5 repeats were replayed"
    os.kill(int(pid), signal.SIGKILL)
    # Reads go to the other replica at once.
    for _ in range(20):
        status, _, body = send(url, "GET", RECORD, key)
        assert status == 200, (status, body)
    # A write is never sent twice by the proxy; its caller repeats it with its key.
    refused = 0
    for number in range(10):
        until = time.monotonic() + 20
        while True:
            status, _, body = patch(url, key, f"after {number}", f"after-{number}")
            if status == 204:
                break
            refused += 1
            assert status in (409, 502, 503, 504) and time.monotonic() < until, (status, body)
            time.sleep(0.2)
    status, _, body = send(url, "GET", f"ledger?record={RECORD.split('/')[-1]}&system=itsm", key)
    entries = json.loads(body)["items"]
    applied = [entry for entry in entries if entry["event"] == "outcome" and entry["state"] == "applied"]
    assert len(applied) == 11, f"{len(applied)} writes for 11 keys"
    print(f"two replicas: 5 repeats replayed, one replica killed, 20 reads served, 10 writes made once ({refused} repeats)")


{"config": config, "nginx": nginx, "test": test}[sys.argv[1]](*sys.argv[2:])
