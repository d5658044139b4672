"""The loops that are compiled ahead of time do what the Python functions define, and are made of the source beside them."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from squeezekit.codec import compiled
from squeezekit.codec.byte_model import code_byte_plane, code_bytes, new_byte_model
from squeezekit.codec.delta_model import code_delta, new_delta_model
from squeezekit.codec.integer_model import code_integers, new_integer_model
from squeezekit.codec.range_coder import decoder, encoder, finish, new_bit_models

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "tests" / "modelfile" / "golden").glob("*.sqz"))
ahead = pytest.mark.skipif(compiled._LIBRARY is None, reason="nothing is compiled ahead of time for this platform")


def arrays_of(value):
    return [leaf for leaf in compiled._leaves(value) if isinstance(leaf, np.ndarray)]


def both(loop, model, *arrays, numbers=()):
    """Encode, then decode, by `loop` and by its definition, from equal states: the same bytes, numbers and state must come."""
    states, written = [], []
    # As Python's own, bytes would overflow when they are added to.
    plain = [array.astype(np.int64) for array in arrays]
    for code, given in ((loop, arrays), (loop.__wrapped__, plain)):
        coder, learnt = encoder(100_000), model()
        code(coder, learnt, *map(np.copy, given), *numbers)
        written.append(finish(coder))
        states.append([coder.registers, *arrays_of(learnt)])
    assert written[0] == written[1]
    for code, given in ((loop, arrays), (loop.__wrapped__, plain)):
        coder, learnt, read = decoder(written[0], 10**7), model(), np.zeros_like(given[-1])
        code(coder, learnt, *given[:-1], read, *numbers)
        assert np.array_equal(read, arrays[-1])
        states.append([coder.registers, *arrays_of(learnt)])
    for one, other in (states[:2], states[2:]):
        assert np.array_equal(one[0], other[0])
        # But for the room of one bit's inputs.
        assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True) if a.size > 6)


@ahead
@pytest.mark.parametrize("seed", range(3))
def test_loops_compiled_ahead_of_time_do_what_their_definitions_say(seed):
    random = np.random.default_rng(seed)
    text = np.frombuffer(b'{"name":"tiny","classes":["cat","dog"]}' * 4 + random.bytes(40), np.uint8).copy()
    both(code_bytes, new_byte_model, text)
    both(code_byte_plane, lambda: new_bit_models(256), (random.geometric(0.1, 300) % 256).astype(np.uint8))
    for scale, bits in ((0.8, 5), (40, 10), (200_000, 24)):
        values = np.rint(random.laplace(0, scale, (5, 4, 9))).astype(np.int64).clip(-(2**bits) + 1, 2**bits - 1)
        both(code_integers, new_integer_model, values, numbers=(bits,))
    for scale in (0.3, 30):
        old = np.rint(random.laplace(0, 3, (5, 4, 9))).astype(np.int64)
        both(code_delta, new_delta_model, old, old + np.rint(random.laplace(0, scale, old.shape)).astype(np.int64))


@ahead
def test_a_decoder_stops_at_its_budget():
    results = []
    for code in (code_integers, code_integers.__wrapped__):
        coder, values = decoder(bytes(range(256)), 100), np.zeros((40, 40, 9), np.int64)
        code(coder, new_integer_model(), values, 24)
        results.append((coder.registers.tolist(), values.tolist()))
    assert results[0] == results[1] and results[0][0][4] < 0


@ahead
def test_arrays_that_do_not_lie_in_one_piece_are_filled_all_the_same():
    values = np.arange(24).reshape(2, 3, 4) - 12
    coder = encoder(1000)
    code_integers(coder, new_integer_model(), values.astype(np.int64), 5)
    spread = np.zeros((2, 3, 8), np.int64)
    code_integers(decoder(finish(coder), 10**6), new_integer_model(), spread[:, :, ::2], 5)
    assert np.array_equal(spread[:, :, ::2], values) and not spread[:, :, 1::2].any()
    with pytest.raises(TypeError, match="int64 or uint8"):
        code_integers(encoder(1000), new_integer_model(), values.astype(np.int32), 5)


@pytest.mark.slow
def test_numba_reads_and_writes_the_same_bytes():
    code = (
        "import sys; from pathlib import Path; from squeezekit.codec import compiled;"
        "from squeezekit.modelfile.sqz import from_bytes;"
        "assert compiled._LIBRARY is None;"
        "[print(from_bytes(data).to_bytes() == data) for data in (Path(name).read_bytes() for name in sys.argv[1:])]"
    )
    smallest = sorted(GOLDEN, key=lambda path: path.stat().st_size)[:3]
    environment = {**os.environ, "SQUEEZEKIT_CODER": "numba"}
    done = subprocess.run([sys.executable, "-c", code, *smallest], env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.split() == ["True"] * len(smallest), done.stderr


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="ziglang is not installed")
def test_what_is_shipped_is_what_the_source_gives(tmp_path):
    subprocess.run([sys.executable, ROOT / "scripts" / "build_coder.py", tmp_path], check=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in compiled.FOLDER.glob("*.bin")}
    assert sum(map(len, made.values())) < 200_000
