"""The callers: some keep-alive connections, each with a record of its own, each sending its next request after the answer."""

import http.client
import socket
import threading


class Load:
    def __init__(self, contender, stand_in, port, connections):
        self.contender, self.stand_in, self.port = contender, stand_in, port
        self.keys = stand_in.keys[:connections]
        self.failures = []

    def send(self, method, requests):
        """Sends so many requests; every one of them must succeed."""
        each = requests // len(self.keys)
        threads = [threading.Thread(target=self.guarded, args=(method, key, each)) for key in self.keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if self.failures:
            raise self.failures[0]

    def guarded(self, method, key, requests):
        try:
            self.one_connection(method, key, requests)
        except Exception as failure:
            self.failures.append(failure)

    def one_connection(self, method, key, requests):
        beside = http.client.HTTPConnection(self.contender.versions_from())
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for _ in range(requests):
                # A current version is needed for each write; it is got past the measured process.
                request = self.contender.get(key) if method == "get" else self.contender.patch(key, beside)
                connection.sendall(request)
                status = answered(connection)
                if status != (200 if method == "get" else 204):
                    raise RuntimeError(f"{self.contender.row}: {method} was answered {status}")
        beside.close()


def answered(connection):
    """Reads one answer to its end and gives its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    left = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0) - len(body)
    if b"transfer-encoding: chunked" in lines:
        while not body.endswith(b"0\r\n\r\n"):
            body += received(connection)
    while left > 0:
        left -= len(received(connection))
    return int(lines[0].split()[1])


def received(connection):
    data = connection.recv(65536)
    if not data:
        raise RuntimeError("the connection was closed")
    return data


def request(method, path, fields, body=b""):
    """The bytes of a request."""
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway.example", *fields, *length, "", ""]).encode() + body
