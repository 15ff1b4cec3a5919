"""Run the quick tests of a part each time one of its files is saved, until Ctrl-C.

python -m tools.watch [PART...]

A part is a member of the workspace in pyproject.toml, such as services/serving; without one, all of them are watched. A
test file that is saved runs alone. Any other file runs the tests of its part, those that failed last time first.
"""

import argparse
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

from watchfiles import DefaultFilter, watch

ROOT = Path(__file__).resolve().parents[2]
# Files that tests read, besides Python.
_ENDINGS = (".py", ".pyi", ".yaml", ".json", ".toml", ".md")


class _Watched(DefaultFilter):
    """Files that tests may depend on, outside folders of caches and tools."""

    def __call__(self, change: object, path: str) -> bool:
        """Return whether a changed file counts."""
        return path.endswith(_ENDINGS) and super().__call__(change, path)  # type: ignore[arg-type]  # as it is called


def parts(root: Path) -> list[Path]:
    """Return the folders of the workspace that have tests, relative to its root."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    members = [Path(member) for member in project["tool"]["uv"]["workspace"]["members"]]
    return [member for member in members if (root / member / "tests").is_dir()]


def run_by(changed: Iterable[Path], known: Sequence[Path]) -> list[str]:
    """Return what pytest must run, sorted.

    Args:
        changed: Saved files, relative to the repository's root.
        known: The parts.

    Returns:
        A test file itself; for any other file of a part, the part's tests; nothing for files outside the parts.
    """
    wanted = set()
    for path in changed:
        part = next((part for part in known if path.is_relative_to(part)), None)
        if part is None:
            continue
        alone = path.name.startswith("test_") and path.suffix == ".py"
        wanted.add((path if alone else part / "tests").as_posix())
    folders = {entry for entry in wanted if not entry.endswith(".py")}
    return sorted(entry for entry in wanted if entry in folders or Path(entry).parent.as_posix() not in folders)


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tools.watch", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", type=Path, metavar="PART", help="such as services/serving (all)")
    known = parts(ROOT)
    watched = parser.parse_args().parts or known
    for part in watched:
        if part not in known:
            parser.error(f"{part} is not a part with tests; parts are {', '.join(map(str, known))}")
    print(f"Watching {', '.join(map(str, watched))}; press Ctrl-C to stop.", flush=True)
    for changes in watch(*(ROOT / part for part in watched), watch_filter=_Watched(), raise_interrupt=False):
        chosen = run_by(sorted(Path(path).relative_to(ROOT) for _, path in changes), watched)
        # Deleted test files cannot run.
        chosen = [entry for entry in chosen if (ROOT / entry).exists()]
        if chosen:
            print(f"\n{time.strftime('%H:%M:%S')} {' '.join(chosen)}", flush=True)
            command = [sys.executable, "-m", "pytest", "--quick", "--failed-first", "-q", *chosen]
            subprocess.run(command, cwd=ROOT, check=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
