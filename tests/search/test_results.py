"""What is recommended among finished trials."""

from squeezekit.search.results import Row, front, recommended


def row(point, loss, parameters, error=0.01, state="done"):
    return Row(point, state, loss=loss, loss_error=error, sizes={"parameters": parameters})


def test_the_smallest_within_one_standard_error_of_the_best_is_recommended():
    rows = [row(0, 0.5, 100), row(1, 0.509, 50), row(2, 0.52, 10), row(3, 0.4, 1, state="stopped early"), row(4, 0.6, 60)]
    assert recommended(rows, "parameters").point == 1
    assert [one.point for one in front(rows, "parameters")] == [2, 1, 0]
    assert recommended([], "parameters") is None and front([], "parameters") == []
