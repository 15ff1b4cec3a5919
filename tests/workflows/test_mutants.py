"""Proves `make mutants` on a small repository: what it finds, what it does not, and that it changes no file there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from checks.mutants.__main__ import Options, run
from checks.mutants.mutate import sample
from checks.mutants.parts import ROOT, Part, UnknownPartError, parts
from checks.mutants.report import Report, text
from checks.mutants.results import Result, Results
from checks.mutants.session import BaselineError

_CODE = """
import msgspec

SMALLEST = 3


class Settled(msgspec.Struct, frozen=True, kw_only=True):
    value: int


def is_large(value: int | None, least: int = 100) -> bool:
    if value is None:
        raise ValueError
    return value > least


def until(limit: int) -> int:
    number = 0
    while True:
        number += 2
        if number >= limit:
            break
    return number


def smallest() -> int:
    return SMALLEST


def unchecked() -> bool:
    return True


def never(value: int) -> int:
    return value + 1
"""
_TESTS = """
import pytest
from thing.sums import is_large, smallest, unchecked, until


@pytest.fixture(scope="session")
def six() -> int:
    return until(6)


def test_is_large() -> None:
    assert is_large(101) and not is_large(100)
    with pytest.raises(ValueError):
        is_large(None)


def test_calls_and_checks_nothing() -> None:
    unchecked()


def test_six(six: int) -> None:
    assert six == 6


def test_smallest() -> None:
    assert smallest() == 3


def test_fails() -> None:
    assert smallest() == 4
"""
_PART = Part(name="thing", source="services/thing/src/thing", tests=("services/thing/tests",))


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A repository with one package and its tests."""
    root = tmp_path / "repository"
    for name, content in {
        "services/thing/src/thing/__init__.py": "",
        "services/thing/src/thing/sums.py": _CODE,
        "services/thing/tests/test_sums.py": _TESTS,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    shutil.copy(ROOT / "pyproject.toml", root)
    subprocess.run(["git", "init", "--quiet", "--template="], cwd=root, check=True, timeout=60)
    return root


def options(count: int, *, again: tuple[str, ...] = (), part: tuple[str, ...] = ()) -> Options:
    return Options(
        count=count, seed=1, part=list(part), all=True, again=list(again), minutes=10, processes=2, patience=4
    )


def fates(report: Report, code: str) -> set[str]:
    """Return the results of the mutants of a line."""
    line = 1 + _CODE.splitlines().index(code)
    found = {mutant.fate for mutant in report.mutants if mutant.line == line}
    assert found, f"no mutant of {code}"
    return set(found)


@pytest.mark.timeout(600)  # one fault is an endless loop, which the limit of CPU time ends
def test_faults_are_found_where_tests_look(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    report = run(small, [_PART], options(100), kept)
    said = text(report)
    assert (small / "services/thing/src/thing/sums.py").read_text() == _CODE
    assert fates(report, "    if value is None:") == {"killed"}
    assert fates(report, "    return True") == {"survived"}
    assert fates(report, "    return value + 1") == {"not run"}
    # Defaults and constants get the tests of the code that uses them, and code of fixtures those that use the fixture.
    assert fates(report, "def is_large(value: int | None, least: int = 100) -> bool:") == {"killed"}
    assert fates(report, "SMALLEST = 3") == {"killed"}
    assert fates(report, "    number = 0") == {"killed"}
    assert fates(report, "            break") == {"timed out"}
    # A test that fails without a fault proves nothing.
    assert (
        "4 tests pass; these fail without a fault, and are not used: services/thing/tests/test_sums.py::test_fails"
        in (capsys.readouterr().err)
    )
    assert not any(mutant.by.endswith("test_fails") for mutant in report.mutants)
    assert f"of {report.asked} mutants found" in said
    assert "-    return value + 1" in said
    # All mutants have a result, so nothing runs, although no test would pass now.
    (small / "services/thing/tests/test_sums.py").write_text("")
    assert run(small, [_PART], options(100), kept) == report


def test_loading_a_package_outside_the_copy_is_detected(small: Path, tmp_path: Path) -> None:
    tests = small / "services/thing/tests/test_sums.py"
    tests.write_text("def test_of_nothing() -> None:\n    pass\n")
    with pytest.raises(BaselineError, match="thing: the tests load another package than services/thing/src/thing"):
        run(small, [_PART], options(10), tmp_path / "kept")


def test_tests_that_cannot_be_loaded_are_reported(small: Path, tmp_path: Path) -> None:
    (small / "services/thing/tests/test_sums.py").write_text("import no_such_module\n")
    with pytest.raises(BaselineError, match=r"thing: pytest ended with 2(.|\n)*no_such_module"):
        run(small, [_PART], options(10), tmp_path / "kept")


def test_a_sample_depends_on_seed_and_code_only(small: Path) -> None:
    every = sample(small, _PART, 1, 100)
    assert sample(small, _PART, 1, 5) == every[:5]
    assert [mutant.key for mutant in sample(small, _PART, 2, 100)] != [mutant.key for mutant in every]
    # Each place occurs once, and changes that no test can notice are left out.
    assert not any("BitOr" in mutant.operator or "-class Settled" in mutant.diff for mutant in every)
    assert len({mutant.key for mutant in every}) == len(every)


def test_results_are_kept(tmp_path: Path) -> None:
    file = tmp_path / "kept" / "quick.jsonl"
    one, two = Result(key="one", fate="killed", by="a test"), Result(key="two", fate="survived")
    results = Results(file)
    results.add(one)
    results.add(two)
    with file.open("a") as stream:
        stream.write('{"key": "thr')
    assert [Results(file).get(key) for key in ("one", "two", "three")] == [one, two, None]
    results.forget(["two"])
    assert results.get("two") is None
    assert Results(file).get("two") == two
    results.drop(["one"])
    assert Results(file).get("one") is None


def test_the_files_of_parts_exist() -> None:
    named = parts()
    assert [part.files(ROOT) for part in named]
    assert all((ROOT / folder).is_dir() for part in named for folder in part.tests)
    with pytest.raises(UnknownPartError, match=r"there is no part pears; parts\.yaml has gitops, data-plane"):
        parts(["pears"])
    with pytest.raises(UnknownPartError, match=r"part thing: modules: nothing in checks matches no_such"):
        Part(name="thing", source="checks", modules=("no_such*.py",), tests=()).files(ROOT)
