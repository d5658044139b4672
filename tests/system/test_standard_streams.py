"""Standard streams that take everything, in processes of their own."""

import os
import subprocess
import sys

import pytest

PRINTS = """
import sys
from squeezekit.system.standard_streams import drop_unwritable_output, prepare_standard_streams
prepare_standard_streams()
print("猫 × \\ud800")
print("€ λ", file=sys.stderr)
try:
    sys.stdout.flush()
except OSError:
    drop_unwritable_output()
    sys.exit(1)
"""


def ran(code, stdout=subprocess.PIPE, before="", **environment):
    """A Python whose descriptors are arranged by a shell; what it prints is buffered, as it is without a terminal."""
    command = ["bash", "-c", f'exec "$0" -c "$1" {before}', sys.executable, code]
    environment = {**os.environ, "PYTHONUNBUFFERED": "", **environment}
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, env=environment, check=False)


@pytest.mark.parametrize(
    ("encoding", "out", "err"),
    [
        ("cp1252", b"\\u732b \xd7 \\ud800\n", b"\x80 \\u03bb\n"),
        ("ascii", b"\\u732b \\xd7 \\ud800\n", b"\\u20ac \\u03bb\n"),
        ("iso8859-1", b"\\u732b \xd7 \\ud800\n", b"\\u20ac \\u03bb\n"),
        ("utf-8", "猫 × \\ud800\n".encode(), "€ λ\n".encode()),
    ],
)
def test_what_a_terminal_cannot_show_is_an_escape(encoding, out, err):
    done = ran(PRINTS, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout, done.stderr) == (0, out, err)


def test_closed_streams_swallow_what_is_written_and_give_their_numbers_to_no_file(tmp_path):
    code = f"{PRINTS}\nfile = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2; import os; os.write(1, b'x')"
    assert ran(code, before="<&- >&- 2>&-").returncode == 0
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_output_that_cannot_be_written_is_not_tried_again_at_the_end():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = ran(PRINTS, stdout=full)
    assert done.returncode == 1 and done.stderr.decode() == "€ λ\n"
