"""The load: keep-alive connections, each with its own record, each sending its next request after the response."""

import http.client
import socket
import threading


class Load:
    def __init__(self, target, fake_vendor, port, connections):
        self.target, self.fake_vendor, self.port = target, fake_vendor, port
        self.keys = fake_vendor.keys[:connections]
        self.failures = []

    def send(self, method, requests):
        """Sends so many requests, all of which must succeed."""
        each = requests // len(self.keys)
        threads = [threading.Thread(target=self.run_connection, args=(method, key, each)) for key in self.keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def run_connection(self, method, key, requests):
        try:
            self.send_over_one_connection(method, key, requests)
        except Exception as failure:
            self.failures.append(failure)

    def send_over_one_connection(self, method, key, requests):
        version_source = http.client.HTTPConnection(self.target.versions_from())
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(requests):
                # Each write needs a current version, which is read past the measured process.
                request = self.target.get(key) if method == "get" else self.target.patch(key, version_source)
                connection.sendall(request)
                status = read_response(connection)
                if status != (200 if method == "get" else 204):
                    raise RuntimeError(f"{self.target.row}: {method} got {status}")
        version_source.close()


def read_response(connection):
    """Reads one response to its end and returns its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += receive(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    left = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0) - len(body)
    if b"transfer-encoding: chunked" in lines:
        while not body.endswith(b"0\r\n\r\n"):
            body += receive(connection)
    while left > 0:
        left -= len(receive(connection))
    return int(lines[0].split()[1])


def receive(connection):
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("the connection was closed")
    return data


def request(method, path, fields, body=b""):
    """The bytes of a request."""
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway.example", *fields, *length, "", ""]).encode() + body
