"""What packages need, found by what pip has noted of them."""

import pytest

from squeezekit.system.requirements import Unmet, extras_of, needs, unmet


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Notes, as pip leaves them, of packages that are not there."""
    monkeypatch.syspath_prepend(tmp_path)

    def noted(name, version, *requirements, extras=()):
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Provides-Extra: {extra}" for extra in extras)]
        lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
        (folder / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", *lines, ""]))

    return noted


def test_what_is_missing_too_old_or_too_new_is_found_however_deep(install):
    install("toy-top", "1.0", "toy-middle>=2", "toy-absent>=1", "toy-elsewhere; platform_system == 'Nowhere'")
    install("toy_middle", "2.1", "toy-low<3,>=1", "toy-top")
    install("toy-low", "3.0")
    assert set(unmet("toy-top")) == {
        Unmet("toy-top", "toy-absent>=1", None),
        Unmet("toy-middle", "toy-low<3,>=1", "3.0"),
    }


def test_versions_before_a_release_are_versions(install):
    install("toy-top", "1.0", "toy-low>=2")
    install("toy-low", "2.1.dev3")
    assert list(unmet("toy-top")) == []


def test_extras_are_what_they_add(install):
    install("toy-top", "1.0", "toy-low", "toy-more>=1; extra == 'more'", "toy-fast[c]; extra == 'fast'", extras=("more", "fast"))
    install("toy-low", "1.0")
    assert extras_of("toy-top") == ["more", "fast"]
    assert [str(each) for each in needs("toy-top")] == ["toy-low"]
    assert [each.name for each in needs("toy-top", "more")] == ["toy-more"]
    # Nobody has asked for one.
    assert list(unmet("toy-top")) == []


def test_extras_that_a_package_asks_for_count(install):
    install("toy-top", "1.0", "toy-fast[c]")
    install("toy-fast", "1.0", "toy-c; extra == 'c'", extras=("c",))
    assert list(unmet("toy-top")) == [Unmet("toy-fast", "toy-c", None)]


def test_notes_that_cannot_be_read_are_passed_over(install):
    install("toy-top", "1.0", "toy-low (>=1", "toy-absent")
    assert [each.package for each in unmet("toy-top")] == ["toy-absent"]
