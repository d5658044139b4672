"""Publish, fetch, verify, install; what a device pays, and what it keeps."""

import errno
import os
import re
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest

import squeezekit.updates.device_folder as device_folder
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.system.file_lock import one_at_a_time
from squeezekit.updates import clock
from squeezekit.updates.device_folder import DeviceFolder, digest
from squeezekit.updates.self_check_process import Verdict, run_self_check
from squeezekit.updates.update import go_back, update
from tests.fixtures.changed_files import changed
from tests.fixtures.copies import in_a_copy
from tests.fixtures.repositories import checked_here, published, root_of
from tests.fixtures.server import cut_off, refusing, whole
from tests.fixtures.site import web


def test_a_delta_brings_the_next_version(two, versions):
    with web(two / "public") as (address, requests, _):
        result = update(address, two / "device")
    assert (result.before, result.version, result.by_delta, result.changed) == (1, 2, True, True)
    assert (two / "device" / "model.sqz").read_bytes() == versions.second.read_bytes()
    assert (two / "device" / "previous.sqz").read_bytes() == versions.first.read_bytes()
    # A delta of some 20 % and 1.4 kB of metadata.
    assert result.fetched < 0.45 * result.bytes and result.bytes == versions.second.stat().st_size
    assert not [path for path, _ in requests if path.endswith(".stable.sqz")]
    again = update(str(two / "public"), two / "device")
    assert not again.changed and again.version == 2 and again.fetched < 500


def test_a_new_device_takes_the_whole_file(two, versions):
    result = update(str(two / "public"), two / "new", trust=root_of(two))
    assert (result.before, result.version, result.by_delta) == (0, 2, False)
    assert (two / "new" / "model.sqz").read_bytes() == versions.second.read_bytes()
    assert not (two / "new" / "previous.sqz").exists()


def test_a_device_that_lost_its_model_takes_the_whole_file(two):
    (two / "device" / "model.sqz").write_bytes(b"dust")
    assert update(str(two / "public"), two / "device").by_delta is False
    (two / "device" / "model.sqz").unlink()
    (two / "device" / "state.json").write_text("dust")
    assert update(str(two / "public"), two / "device").version == 2


def test_channels_are_apart(two, versions):
    published(versions.first, two, channel="beta")
    assert update(str(two / "public"), two / "other", trust=root_of(two), channel="beta").version == 1
    with pytest.raises(RunFailed, match="nothing in the channel 'gamma'"):
        update(str(two / "public"), two / "other", channel="gamma")
    assert update(str(two / "public"), two / "other").version == 2
    # The same number, but another model.
    published(versions.first, two, channel="gamma")
    published(versions.second, two, channel="gamma")
    published(versions.first, two, channel="delta")
    result = update(str(two / "public"), two / "other", channel="delta")
    assert result.changed and result.version == 1


def test_publishing_the_same_again_changes_no_version(two, versions):
    again = published(versions.second, two)
    assert again.version == 2 and set(again.deltas) == {1}
    assert update(str(two / "public"), two / "device").by_delta


@pytest.mark.slow
def test_deltas_from_as_many_versions_as_asked(one, versions, tmp_path):
    for number in range(3):
        (tmp_path / "next.sqz").write_bytes(changed(versions.first.read_bytes(), 0.01, seed=number))
        result = published(tmp_path / "next.sqz", one, deltas=2)
    assert result.version == 4 and set(result.deltas) == {2, 3}
    assert update(str(one / "public"), one / "device").by_delta is False


def test_a_broken_download_goes_on_where_it_broke(two, versions):
    with web(two / "public") as (address, requests, ways):
        (delta,) = [path for path in (two / "public" / "targets").iterdir() if ".from-" in path.name]
        ways[f"/targets/{delta.name}"] = cut_off(delta.read_bytes(), 300)
        for turn in range(2):
            with pytest.raises(RunFailed, match="broke off after .* goes on"):
                update(address, two / "device")
            assert [range for path, range in requests if path.endswith(delta.name)][turn] == (
                f"bytes={300 * turn}-" if turn else None
            )
        del ways[f"/targets/{delta.name}"]
        result = update(address, two / "device")
    # What is left of the delta, and a timestamp.
    assert result.changed and result.fetched < delta.stat().st_size - 600 + 500


def test_a_server_that_cannot_resume(two):
    with web(two / "public") as (address, _, ways):
        (delta,) = [path for path in (two / "public" / "targets").iterdir() if ".from-" in path.name]
        ways[f"/targets/{delta.name}"] = cut_off(delta.read_bytes(), 300)
        with pytest.raises(RunFailed):
            update(address, two / "device")
        ways[f"/targets/{delta.name}"] = whole(delta.read_bytes(), ranges=False)
        assert update(address, two / "device").by_delta


def test_dust_in_a_broken_download_is_fetched_again(two):
    with web(two / "public") as (address, _, ways):
        (delta,) = [path for path in (two / "public" / "targets").iterdir() if ".from-" in path.name]
        ways[f"/targets/{delta.name}"] = cut_off(b"?" * delta.stat().st_size, 300)
        with pytest.raises(RunFailed):
            update(address, two / "device")
        del ways[f"/targets/{delta.name}"]
        assert update(address, two / "device").by_delta


@pytest.mark.slow
def test_a_model_that_fails_its_check_is_refused_once_and_for_all(two, versions):
    published(versions.unfit, two, check=False)
    device = two / "device"
    for turn in range(2):
        with (
            web(two / "public") as (address, requests, _),
            pytest.raises(RunFailed, match="fails its self-check.*version 1 stays"),
        ):
            update(address, device)
        assert any("/targets/" in path for path, _ in requests) is not turn
        assert (device / "model.sqz").read_bytes() == versions.first.read_bytes()
    published(versions.second, two)
    assert update(str(two / "public"), device).version == 4


def test_nobody_publishes_what_fails_its_check(one, versions, tmp_path):
    with pytest.raises(SqueezekitError, match="fails its self-check.*every device would refuse it"):
        published(versions.unfit, one)
    (tmp_path / "no.sqz").write_bytes(b"no model")
    for model in (tmp_path / "no.sqz", tmp_path / "none.sqz", tmp_path):
        with pytest.raises(SqueezekitError, match=model.name):
            published(model, one)
    with pytest.raises(SqueezekitError, match="channel '../up'"):
        published(versions.second, one, channel="../up")


def test_a_check_that_dies_counts_and_the_second_time_refuses(two, versions):
    """As after a power cut in the middle of it, whenever that comes."""
    device = two / "device"
    for turn in range(2):
        assert in_a_copy(_killed_in_the_check, two / "public", device) == -signal.SIGKILL
        assert DeviceFolder(device).state.trials == turn + 1
        assert (device / "model.sqz").read_bytes() == versions.first.read_bytes()
    with pytest.raises(RunFailed, match=r"its check did not end, 2 times; version 1 stays"):
        update(str(two / "public"), device)
    assert (device / "model.sqz").read_bytes() == versions.first.read_bytes()


def _killed_in_the_check(repository, device):
    device_folder.run_self_check = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    update(str(repository), device)


def test_going_back(two, versions):
    device = two / "device"
    with pytest.raises(SqueezekitError, match="no version before"):
        go_back(device)
    with pytest.raises(SqueezekitError, match="has no model"):
        go_back(two / "nowhere")
    assert not (two / "nowhere").exists()
    update(str(two / "public"), device)
    go_back(device)
    assert DeviceFolder(device).version().number == 1
    with pytest.raises(SqueezekitError, match="no version before"):
        go_back(device)
    assert (device / "model.sqz").read_bytes() == versions.first.read_bytes()
    with pytest.raises(RunFailed, match="version 2 is refused: it was taken back by hand"):
        update(str(two / "public"), device)
    assert DeviceFolder(device).refused(digest(versions.second.read_bytes())).version == 2
    assert update(str(two / "public"), device, retry_refused=True).version == 2


@pytest.mark.parametrize(
    "verdict", [Verdict("its check could not be made (No space left on device)"), Verdict("the process was ended by SIGKILL")]
)
def test_a_check_that_could_not_be_made_is_no_verdict(two, monkeypatch, verdict):
    """As for want of memory, space or time: however often, the model is tried again."""
    monkeypatch.setattr(device_folder, "run_self_check", lambda *_: verdict)
    for _ in range(4):
        with pytest.raises(RunFailed, match=f"is not installed: {re.escape(verdict.reason)}.*stays, try again"):
            update(str(two / "public"), two / "device")
    assert not DeviceFolder(two / "device").state.refused
    checked_here(monkeypatch)
    assert update(str(two / "public"), two / "device").version == 2


def test_a_full_disk_is_said_and_forgotten(two, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    for _ in range(3):
        with monkeypatch.context() as patch, pytest.raises(RunFailed, match="device: no space is left there, .*goes on"):
            patch.setattr(device_folder.atomic_io, "write_bytes", full)
            update(str(two / "public"), two / "device")
    assert update(str(two / "public"), two / "device").version == 2


def test_a_second_update_waits_for_the_first(two):
    """And finds its work done."""
    results = []
    second = threading.Thread(target=lambda: results.append(update(str(two / "public"), two / "device")))
    with one_at_a_time(two / "device" / ".lock"):
        second.start()
        second.join(0.3)
        assert second.is_alive() and not results
    second.join(60)
    assert results[0].version == 2
    assert not update(str(two / "public"), two / "device").changed


def test_a_check_out_of_time_is_no_verdict(two, monkeypatch):
    monkeypatch.setattr(device_folder, "run_self_check", lambda model, _seconds: run_self_check(model, 0.05))
    for _ in range(3):
        with pytest.raises(RunFailed, match="is not installed: its check did not end within .*try again"):
            update(str(two / "public"), two / "device")
    checked_here(monkeypatch)
    assert update(str(two / "public"), two / "device").version == 2


def test_a_model_whose_check_crashes_twice_waits_for_a_day(two, monkeypatch):
    """It may be at fault, or a device that lacks memory; an update each hour must not crash it each hour."""
    monkeypatch.setattr(device_folder, "run_self_check", lambda *_: Verdict("it was ended by SIGSEGV", crashed=True))
    for _ in range(2):
        with pytest.raises(RunFailed, match="is not installed: it was ended by SIGSEGV.*try again"):
            update(str(two / "public"), two / "device")
    for _ in range(2):
        with pytest.raises(RunFailed, match="version 2 is refused until .* UTC: its check did not end, 2 times; version 1 stays"):
            update(str(two / "public"), two / "device")
    checked_here(monkeypatch)
    tomorrow = clock.now() + timedelta(days=1, minutes=1)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    assert update(str(two / "public"), two / "device").version == 2


def test_a_check_stopped_in_good_order_does_not_count(two, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(device_folder, "run_self_check", stopped)
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            update(str(two / "public"), two / "device")
    checked_here(monkeypatch)
    assert update(str(two / "public"), two / "device").version == 2


def test_a_device_needs_to_know_whom_to_trust(two):
    with pytest.raises(SqueezekitError, match="trusts nobody yet.*--trust"):
        update(str(two / "public"), two / "new")
    with pytest.raises(SqueezekitError, match="--trust .*none.json"):
        update(str(two / "public"), two / "new", trust=two / "none.json")
    (two / "dust.json").write_text("dust")
    for other in (two / "dust.json", two / "public" / "metadata" / "timestamp.json"):
        with pytest.raises(SqueezekitError, match=f"--trust .*{other.name}: is no root.json"):
            update(str(two / "public"), two / "new", trust=other)
    assert not (two / "new" / "model.sqz").exists()
    # And nothing of the dust stays.
    assert update(str(two / "public"), two / "new", trust=root_of(two)).version == 2


def test_where_there_is_no_repository(two):
    for source, said in (
        (str(two / "nothing"), "neither an http"),
        ("ftp://example.org/x", "neither an http"),
        (str(two / "keys"), "cannot be fetched from"),
        ("http://127.0.0.1:9", "cannot be fetched from"),
        ("http://[x", "is no address"),
    ):
        with pytest.raises(SqueezekitError, match=said):
            update(source, two / "device")
    with web(two / "public") as (address, _, ways):
        ways["/metadata/timestamp.json"] = refusing(500)
        with pytest.raises(RunFailed, match="500"):
            update(address, two / "device")


def test_no_larger_model_than_allowed(two):
    with pytest.raises(RunFailed, match="allow so many with --max-bytes"):
        update(str(two / "public"), two / "new", trust=root_of(two), max_bytes=1000)
    for wrong in (0, -5, 1 << 40):
        with pytest.raises(SqueezekitError, match="--max-bytes .*: give 1 to 67,108,864 bytes"):
            update(str(two / "public"), two / "new", trust=root_of(two), max_bytes=wrong)


def test_a_whole_file_half_fetched_is_cheaper_than_a_delta(two, versions):
    """A delta is taken only where less is left of nothing else."""
    with web(two / "public") as (address, _, ways):
        (delta,) = [path for path in (two / "public" / "targets").iterdir() if ".from-" in path.name]
        model = next(path for path in (two / "public" / "targets").iterdir() if path.read_bytes() == versions.second.read_bytes())
        ways[f"/targets/{model.name}"] = cut_off(model.read_bytes(), model.stat().st_size - 100)
        (two / "device" / "model.sqz").rename(two / "aside")
        with pytest.raises(RunFailed, match="broke off"):
            update(address, two / "device")
        (two / "aside").rename(two / "device" / "model.sqz")
        del ways[f"/targets/{model.name}"]
        result = update(address, two / "device")
    assert result.by_delta is False and result.fetched < 1000 < delta.stat().st_size


def test_an_update_does_without_torch():
    """Which takes seconds to import, on a device that looks for a new version every hour."""
    code = "import sys, squeezekit.updates.update; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
