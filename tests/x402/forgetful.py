"""A server in front of the product that passes a paid request on and loses its answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from tests.support import wire

NOT_PASSED_ON = {"connection", "content-length", "date", "host", "server", "transfer-encoding"}


@dataclass
class Forgetful:
    """Answers of the first paid requests get lost: one is a 503 then, the next a closed line."""

    in_front_of: str
    url: str = ""
    lost: list[int] = field(default_factory=list)
    """The status of each answer that got lost."""

    def of(self, url: str) -> str:
        """The same address here."""
        return self.url + urlsplit(url).path


@contextmanager
def forgetful(in_front_of: str) -> Iterator[Forgetful]:
    shop = Forgetful(in_front_of)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = _without_hops(dict(self.headers))
            answer = wire.post(shop.in_front_of + self.path, data=body, headers=headers)
            if "PAYMENT-SIGNATURE" in self.headers and len(shop.lost) < 2:
                shop.lost.append(answer.status_code)
                if len(shop.lost) == 1:
                    self._say(503, {}, b'{"error": "Not ready.", "code": "not_ready"}')
                self.close_connection = True
                return
            self._say(answer.status_code, _without_hops(dict(answer.headers)), answer.content)

        def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shop.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _without_hops(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in NOT_PASSED_ON}
