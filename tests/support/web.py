"""A web server on loopback, to fetch from; it counts what was asked of it."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """Files by path; a path that is not among them is answered 404. Answers wait while `may_answer` is not set.

    `was_asked` is set by the first request.
    """

    files: dict[str, bytes]
    address: str = ""
    asked: list[str] = field(default_factory=list)
    may_answer: threading.Event = field(default_factory=threading.Event)
    was_asked: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def serve(files: dict[str, bytes]) -> Iterator[Web]:
    """Serve `files` while the context lasts."""
    web = Web(files)
    web.may_answer.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.asked.append(self.path)
            web.was_asked.set()
            web.may_answer.wait()
            body = web.files.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Length", str(len(body or b"")))
            with contextlib.suppress(ConnectionError):  # who asked may have given up
                self.end_headers()
                self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Tests print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        web.address = f"http://127.0.0.1:{server.server_port}"
        try:
            yield web
        finally:
            web.may_answer.set()
            server.shutdown()
            thread.join()
