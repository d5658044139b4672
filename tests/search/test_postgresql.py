"""Three machines share a study in PostgreSQL; one of them dies in the middle of a trial."""

import getpass
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from squeezekit.training.run_folder import Run

SPACE = "[network]\nsqueeze_ratio = [0.25, 0.5]\n[recipe]\nlearning_rate = [0.01, 0.03, 0.1]\n"
TINY = {"limit": 300, "base_e": 8, "incr_e": 8, "stem_width": 8, "depth": 1, "pool_before": 1, "epochs": 12, "grace": 3}
# Three workers at a time on whatever there is.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def programs():
    """Where Debian keeps them, the newest version first."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: -int(path.parts[-3]))
    anywhere = shutil.which("initdb")
    return found[0].parent if found else Path(anywhere).parent if anywhere else None


@pytest.fixture
def server(tmp_path):
    """A PostgreSQL of its own on loopback; its URL."""
    if programs() is None:
        pytest.skip("PostgreSQL is not installed; apt-get install postgresql")
    folder, port = Path("/tmp") / f"squeezekit-{os.getpid()}-{time.time_ns()}", free_port()
    folder.mkdir()
    # It refuses to run as root.
    user = "postgres" if os.geteuid() == 0 else getpass.getuser()
    shutil.chown(folder, user)
    options = {"user": user, "cwd": folder, "check": True, "capture_output": True} if os.geteuid() == 0 else {"check": True}
    subprocess.run([programs() / "initdb", "-D", folder / "data", "-U", "squeezekit", "-A", "trust"], **options)
    running = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
    control = [programs() / "pg_ctl", "-D", folder / "data", "-w"]
    subprocess.run([*control, "-o", running, "-l", folder / "log", "start"], **{**options, "capture_output": False})
    try:
        yield f"postgresql+psycopg://squeezekit@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], **options)
        shutil.rmtree(folder)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_killed_machine_loses_no_configuration_and_none_counts_twice(server, tmp_path):
    (tmp_path / "space.toml").write_text(SPACE)
    start = [sys.executable, "-m", "squeezekit", "search", "--data", "digits", "--space", str(tmp_path / "space.toml")]
    start += ["--sampler", "grid", "--storage", server, "--json", "--pruner", "none"]
    start += [part for name, value in TINY.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    jobs = []
    for machine in range(3):
        command = [*start, "--out", str(tmp_path / str(machine) / "study")]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        jobs.append(subprocess.Popen(command, env=ONE_THREAD, start_new_session=True, **pipes))
    begun = in_the_middle_of_a_trial(tmp_path / "0", jobs[0])
    os.killpg(jobs[0].pid, signal.SIGKILL)
    answers = [job.communicate(timeout=300) for job in jobs[1:]]
    assert [job.returncode for job in jobs[1:]] == [0, 0], answers
    for stdout, _ in answers:
        rows = json.loads(stdout)["rows"]
        assert [row["state"] for row in rows] == ["done"] * 6
        assert len({tuple(row["fields"].values()) for row in rows}) == 6
    trials = optuna.load_study(study_name="study", storage=server).trials
    completed = [trial.user_attrs["point"] for trial in trials if trial.state == TrialState.COMPLETE]
    assert sorted(completed) == list(range(6))
    lost = [trial for trial in trials if trial.state == TrialState.FAIL and "surplus" not in trial.user_attrs]
    assert [trial.user_attrs["point"] for trial in lost] == [int(begun)]
    # Trained again from the beginning: the dead machine's folder is its own.
    again = [machine for machine in ("1", "2") if (tmp_path / machine / "study" / begun / "summary.json").exists()]
    assert len(again) == 1 and Run(tmp_path / again[0] / "study" / begun).summary["epochs"] == 12


def in_the_middle_of_a_trial(folder, job):
    """The name of a run that has finished an epoch and not the last."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert job.poll() is None, job.stderr.read()
        for checkpoint in folder.glob("study/*/last.pt"):
            if not (checkpoint.parent / "summary.json").exists():
                return checkpoint.parent.name
        time.sleep(0.02)
    raise AssertionError("no trial began")
