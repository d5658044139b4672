"""The best file so far."""

from squeezekit.compression.best_file import BestFile
from squeezekit.compression.candidate import Candidate
from squeezekit.compression.job_state import JobState
from squeezekit.compression.target import Target
from squeezekit.modelfile.sqz import Stage, read_sqz


def test_every_better_one_replaces_the_last(tiny_sqz, tmp_path):
    out = tmp_path / "x.sqz"
    job = JobState.open(out, {}, resume=False)
    best = BestFile(out, Target(0.9, max_drop=0.5, max_bytes=None), job)
    best.update()
    assert not out.exists() and best.in_words() == ""
    file = read_sqz(tiny_sqz)
    for number, (size, accuracy, written) in enumerate([(5000, 0.7, 0), (6000, 0.9, 1), (4000, 0.8, 1), (5500, 0.897, 3)]):
        stage = Stage(name=str(number), bytes=size, density=1, bits=8, accuracy=accuracy)
        made = Candidate(str(number), 0.1, type(file)(file.network, file.classes, file.weights, stages=(stage,)))
        job.ptq.add(made, 1.0)
        best.update()
        assert read_sqz(out).stages[-1].name == str(written)
    assert best.in_words() == f"{out} is the best so far, {out.stat().st_size:,} bytes, accuracy 89.70%; "
    judged = BestFile(out, Target(0.9, max_drop=None, max_bytes=5600), job, loss_of=lambda made: float(made.name == "3"))
    judged.update()
    assert judged.written.name == "2"
    again = BestFile(out, best.target, JobState.open(out, {}, resume=True))
    out.unlink()
    again.update()
    assert read_sqz(out).stages[-1].name == "3"
