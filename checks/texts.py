"""The texts of programs: help, messages and alerts, each with the line where it begins."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from checks.links import ROOT, tracked

_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the strings of a Python program, except the docstrings of modules, classes and functions.

    A value in a formatted string becomes `x`. Docstrings of attributes count: options take their help from them.
    """
    tree = ast.parse(source)
    skipped = {id(first.value) for first in _first_of_documented(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node)}
            yield node.lineno, "".join(_part(value) for value in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def _first_of_documented(tree: ast.Module) -> Iterator[ast.Expr]:
    """Yield the first statement of each module, class and function if it may be a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and node.body and isinstance(node.body[0], ast.Expr):
            yield node.body[0]


def _part(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else "x"


def alert_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the summaries and descriptions of a file of Prometheus rules, at the line of their alert."""
    lines = source.split("\n")
    for group in msgspec.yaml.decode(source)["groups"]:
        for rule in group["rules"]:
            if name := rule.get("alert"):
                line = next(number for number, text in enumerate(lines, start=1) if text.strip() == f"- alert: {name}")
                yield from ((line, rule["annotations"][key]) for key in ("summary", "description"))


def programs(folders: Iterable[str], root: Path = ROOT) -> Iterator[Path]:
    """Yield the Python programs and rules in folders, without tests, relative to the root."""
    for path in tracked(root, "*.py", "charts/*/rules/*.yaml"):
        if "tests" not in path.parts and any(path.is_relative_to(folder) for folder in folders):
            yield path


def texts(path: Path, words: int, root: Path = ROOT) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that have at least a number of words."""
    source = (root / path).read_text(encoding="utf-8")
    for line, text in python_texts(source) if path.suffix == ".py" else alert_texts(source):
        if len(text.split()) >= words:
            yield line, text
