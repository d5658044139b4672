"""Clocks that are years off, on devices and where is published."""

from datetime import UTC, datetime, timedelta

import pytest

from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.updates import clock
from squeezekit.updates.device_folder import DeviceFolder
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.repository import Repository
from squeezekit.updates.update import update
from tests.fixtures.repositories import PASSPHRASE, newest, published

BATTERY_EMPTY = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)


@pytest.fixture
def set_to(monkeypatch):
    return lambda time: monkeypatch.setattr(clock, "now", lambda: time)


def test_a_device_at_1970_says_so_and_goes_on(two, set_to, capfd):
    set_to(BATTERY_EMPTY)
    assert update(str(two / "public"), two / "device").version == 2
    assert "the clock of this device shows 1970-01-01 00:01 UTC, but it is later than 20" in capfd.readouterr().err


def test_a_device_at_1970_does_not_take_expired_metadata_for_fresh(two, set_to, capfd):
    """It has been online later than these metadata last."""
    DeviceFolder(two / "device").update_state(latest=clock.now() + timedelta(days=30))
    set_to(BATTERY_EMPTY)
    said = (
        r"is expired: nobody has renewed it, .* or the clock of this device is wrong, which shows 1970-01-01 00:01 UTC; nothing"
    )
    with pytest.raises(RunFailed, match=said):
        update(str(two / "public"), two / "device")
    assert "it is later than" in capfd.readouterr().err
    assert DeviceFolder(two / "device").version().number == 1


def test_a_device_notes_when_all_was_current_once_a_day(one, set_to):
    # The folder and its first update may be minutes older than this test.
    first = DeviceFolder(one / "device").state.latest
    assert timedelta() <= clock.now() - first < timedelta(hours=1)
    update(str(one / "public"), one / "device")
    assert DeviceFolder(one / "device").state.latest == first
    for later, noted in ((timedelta(hours=20), first), (timedelta(days=2), first + timedelta(days=2))):
        set_to(first + later)
        update(str(one / "public"), one / "device")
        assert DeviceFolder(one / "device").state.latest == noted
    # A day back is none, for clocks differ.
    assert clock.not_before(clock.now() + timedelta(hours=23)) == clock.now()


@pytest.mark.parametrize("year", [1970, 2001, 2056, 9999])
def test_nothing_is_signed_by_a_clock_that_is_decades_off(one, versions, set_to, year):
    before = {path: path.read_bytes() for path in one.rglob("*") if path.is_file()}
    set_to(datetime(year, 5, 1, tzinfo=UTC))
    for sign in (
        lambda: published(versions.second, one),
        lambda: newest(one).renew(),
        lambda: Repository.create(one / "other", KeyRing([one / "other-keys"], [PASSPHRASE])),
    ):
        with pytest.raises(SqueezekitError, match=f"the clock of this machine shows {year}-05-01 .*set the clock"):
            sign()
    assert before == {path: path.read_bytes() for path in one.rglob("*") if path.is_file()}


def test_clocks_that_contradict_the_repository_are_said(one, versions, set_to, capfd):
    """This one may be wrong or the one before, so that work goes on."""
    real = clock.now()
    set_to(real + timedelta(days=800))
    published(versions.second, one)
    said = capfd.readouterr().err
    assert "timestamp has expired 78" in said and "see that it is right" in said
    set_to(real)
    published(versions.first, one)
    assert "but a version was published 2" in capfd.readouterr().err
    set_to(datetime(2036, 12, 1, tzinfo=UTC))
    Repository(one / "public", KeyRing([one / "keys"], [PASSPHRASE]), {"timestamp": 3650}).renew()
    capfd.readouterr()
    set_to(real)
    newest(one).renew()
    assert "timestamp is signed for another 7," in capfd.readouterr().err
    newest(one).renew()
    assert capfd.readouterr().err == ""
