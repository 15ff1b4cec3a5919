"""Every module is used by another, and no import needs another name."""

import ast
from collections.abc import Iterator
from pathlib import Path

from gitops.platform.forges import FORGES

PACKAGE = Path(__file__).parents[1] / "src" / "gitops"
# Entry points: the command itself, the module that writes the schema for editors, and the adapters in `FORGES`.
STARTS = {"gitops.cli", "gitops.platform.schema", *(facts.adapter.partition(":")[0] for facts in FORGES.values())}
MODULES = {
    ".".join(("gitops", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def imports(module: str) -> Iterator[tuple[str, str | None]]:
    """Yield what a module imports from this package: dotted names, and the alias if there is one."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gitops"):
            for alias in node.names:
                yield f"{node.module}.{alias.name}", alias.asname
        elif isinstance(node, ast.Import):
            yield from ((alias.name, alias.asname) for alias in node.names if alias.name.startswith("gitops"))


def test_each_module_is_imported_by_another() -> None:
    used = {name for module in MODULES for name, _ in imports(module)}
    # `from gitops.a.b import c` uses gitops.a.b, and also gitops.a.b.c if that is a module.
    reached = used | {name.rpartition(".")[0] for name in used}
    modules = {name for name, path in MODULES.items() if path.name != "__init__.py"}
    assert modules - reached - STARTS == set()


def test_no_import_needs_an_alias() -> None:
    renamed = {(module, name) for module in MODULES for name, other in imports(module) if other}
    assert renamed == set()


def test_no_module_is_too_long() -> None:
    longest = 400
    assert [name for name, path in MODULES.items() if len(path.read_text().splitlines()) > longest] == []
