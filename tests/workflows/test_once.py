"""What one worker makes for all workers of a run is made once, and again if that failed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.once import made_once


def test_concurrent_callers_share_one_result(tmp_path_factory: pytest.TempPathFactory) -> None:
    makers: list[Path] = []

    def make(folder: Path) -> None:
        makers.append(folder)
        (folder / "file").write_text("whole")

    with ThreadPoolExecutor(4) as pool:
        places = list(pool.map(lambda _: made_once(tmp_path_factory, "of-this-test", make), range(8)))
    assert len(makers) == 1
    assert [(place / "file").read_text() for place in places] == ["whole"] * 8


def test_after_a_failure_it_is_made_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        made_once(tmp_path_factory, "of-a-failure", fail)
    place = made_once(tmp_path_factory, "of-a-failure", lambda folder: (folder / "whole").touch())
    assert [path.name for path in place.iterdir()] == ["whole"]
