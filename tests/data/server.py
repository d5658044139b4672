"""A server on localhost that behaves as badly as it is told to."""

import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextmanager
def serving(ways):
    """Serve {path: function(request)}; yields (address, requests), where requests gathers (path, Range header)."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            requests.append((self.path, self.headers.get("Range")))
            ways[self.path](self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def begin(request, content, *, ranges=True):
    """Answer 206 or 200 as asked; returns the bytes to send."""
    asked = request.headers.get("Range")
    start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and ranges else 0
    if start >= len(content):
        request.send_error(416)
        return b""
    request.send_response(206 if start else 200)
    if start:
        request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    request.send_header("Content-Length", str(len(content) - start))
    request.end_headers()
    return content[start:]


def whole(content, *, ranges=True):
    """Sends everything; without `ranges` from the start, whatever was asked."""
    return lambda request: request.wfile.write(begin(request, content, ranges=ranges))


def cut_off(content, after):
    """Breaks off after so many bytes of each answer."""
    return lambda request: request.wfile.write(begin(request, content)[:after])


def stalling(content, after, seconds=5):
    """Sends some bytes, then nothing."""

    def answer(request):
        request.wfile.write(begin(request, content)[:after])
        request.wfile.flush()
        time.sleep(seconds)

    return answer


def slow(content, piece, pause):
    """Sends a piece, pauses, sends the next."""

    def answer(request):
        rest = begin(request, content)
        try:
            for at in range(0, len(rest), piece):
                request.wfile.write(rest[at : at + piece])
                request.wfile.flush()
                time.sleep(pause)
        except OSError:
            pass

    return answer


def refusing(code):
    """Answers with an HTTP error."""
    return lambda request: request.send_error(code)
