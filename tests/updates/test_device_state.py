"""What a device notes is read as it was written, and nothing else is."""

from datetime import UTC, datetime

import pytest

from squeezekit.updates.device_state import DeviceState, ModelVersion, RefusedModel, state_as_read, written_state

TIME = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
STATE = DeviceState(
    {"a" * 64: ModelVersion("stable", 3, 1)},
    "b" * 64,
    1,
    "c" * 64,
    TIME,
    (RefusedModel("d" * 64, 2, "unfit", TIME), RefusedModel("e", 1, "")),
)


def test_a_state_is_read_as_it_was_written():
    assert state_as_read(written_state(STATE).encode()) == STATE
    assert state_as_read(b"{}") == DeviceState()


def test_a_time_as_earlier_versions_wrote_it():
    assert state_as_read(b'{"latest": "2026-05-04T03:02:01Z"}').latest == TIME


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"other": 1}',
        '{"trials": "1"}',
        '{"trials": true}',
        '{"known": {"a": {"channel": "stable", "number": 1}}}',
        '{"known": {"a": {"channel": "stable", "number": 1, "root": 1.5}}}',
        '{"refused": [{"sha256": "a", "version": 1, "reason": null}]}',
        '{"refused": 3}',
        '{"latest": 7}',
        '{"latest": "2026-05-04T03:02:01"}',
        '{"refused": [' + ", ".join(['{"sha256": "a", "version": 1, "reason": ""}'] * 33) + "]}",
    ],
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError):
        state_as_read(text.encode())
