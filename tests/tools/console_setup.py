"""Configurations for the test of the console, from the output of a running sandbox.

    console_setup.py OUTPUT FOLDER KEY      writes keys.toml and jwt.toml; jwks.json is in FOLDER already
    console_setup.py OUTPUT FOLDER KEY OPEN_URL KEYS_URL JWT_URL      prints what console.mjs reads
"""

import json
import pathlib
import re
import sys

import vendors

# A lost write ends `unknown` soon.
SHORT = 'circuit_failures = 1000\ntimeout = "1s"\nsettle_timeout = "2s"\n'


def with_short_timeouts(text):
    return re.sub(r"(?m)^(vendor = .*)$", r"\1\n" + SHORT, text)


def main():
    output, folder, key, *urls = sys.argv[1:]
    text = pathlib.Path(output).read_text(encoding="utf-8")
    folder = pathlib.Path(folder)
    if urls:
        opened, keys, jwt = urls
        token = (folder / "token").read_text(encoding="utf-8")
        matrix42 = vendors.addresses(text)["itsm"]
        print(json.dumps({"open": opened, "keys": keys, "key": key, "jwt": jwt, "token": token, "matrix42": matrix42}))
        return
    keys = vendors.configuration(text, str(folder / "keys.db"), key)
    (folder / "keys.toml").write_text(with_short_timeouts(keys), encoding="utf-8")
    jwt = vendors.configuration(text, str(folder / "jwt.db"), key)
    access = re.compile(r'mode = "keys"\n\[\[access.callers\]\]\n(.+\n){3}')
    issuer = ('mode = "jwt"\n[access.jwt]\nissuer = "https://issuer.example"\naudience = "records-gateway"\n'
              f'jwks = {json.dumps(str(folder / "jwks.json"))}\n')
    (folder / "jwt.toml").write_text(access.sub(lambda _: issuer, jwt), encoding="utf-8")


main()
