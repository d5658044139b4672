"""What is decided, and said, before the first trial."""

from tests.fixtures.studies import plan_of, space_in


def test_a_search_begins_with_what_it_found(tmp_path, capsys):
    plan_of(space_in(tmp_path))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("digits: 10 classes; images: ")]
    assert len(said) == 1 and said[0].endswith(" for validation, 269 for the test")
