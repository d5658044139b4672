"""A repository behind a web server that can be made to behave badly."""

from contextlib import contextmanager

from tests.data.server import refusing, serving, whole


class Ways(dict):
    """What a server does for each path: what was set, or else it gives the file."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def __missing__(self, path):
        file = self.folder / path.lstrip("/")
        return whole(file.read_bytes()) if file.is_file() else refusing(404)


@contextmanager
def web(folder):
    """Serve a folder; yields (address, requests, ways)."""
    ways = Ways(folder)
    with serving(ways) as (address, requests):
        yield address, requests, ways
