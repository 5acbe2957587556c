"""The load: keep-alive connections, each with its own records, each sending its next request after the response."""

import http.client
import math
import socket
import threading
import time


class Load:
    """`ahead` is how many requests a connection prepares before it sends them. Preparing reads current versions past the
    measured process; with more than one, all connections prepare, then all send, so that no reading thins the load."""

    def __init__(self, target, fake_vendor, port, connections, ahead=1):
        self.target, self.port, self.ahead = target, port, ahead
        self.groups = [fake_vendor.keys[at * ahead:(at + 1) * ahead] for at in range(connections)]
        self.all_prepared = threading.Barrier(connections)
        self.failures, self.seconds = [], []

    def send(self, path, requests):
        """Sends at least so many requests, all of which must succeed; returns how many. `seconds` has the time of each."""
        self.seconds = []
        blocks = math.ceil(requests / (len(self.groups) * self.ahead))
        threads = [threading.Thread(target=self.run_connection, args=(path, keys, blocks)) for keys in self.groups]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise next((one for one in self.failures if not isinstance(one, threading.BrokenBarrierError)), self.failures[0])
        return blocks * len(self.groups) * self.ahead

    def run_connection(self, path, keys, blocks):
        try:
            self.send_over_one_connection(path, keys, blocks)
        except Exception as failure:
            self.failures.append(failure)
            self.all_prepared.abort()

    def send_over_one_connection(self, path, keys, blocks):
        version_source = http.client.HTTPConnection(self.target.versions_from())
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(blocks):
                prepared = [self.target.request(path, key, version_source) for key in keys]
                if self.ahead > 1:
                    self.all_prepared.wait()
                for one in prepared:
                    self.exchange(connection, one, path)
        version_source.close()

    def exchange(self, connection, request_bytes, path):
        since = time.perf_counter()
        connection.sendall(request_bytes)
        status = read_response(connection)
        self.seconds.append(time.perf_counter() - since)
        if status != self.target.SUCCESS[path]:
            raise RuntimeError(f"{self.target.row}: {path} got {status}")


def read_response(connection):
    """Reads one response to its end and returns its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    status = int(lines[0].split()[1])
    if status == 304:
        return status
    left = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0) - len(body)
    if b"transfer-encoding: chunked" in lines:
        while not body.endswith(b"0\r\n\r\n"):
            body += receive(connection)
    while left > 0:
        left -= len(receive(connection))
    return status


def receive(connection):
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("the connection was closed")
    return data


def request(method, path, fields, body=b""):
    """The bytes of a request."""
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway.example", *fields, *length, "", ""]).encode() + body
