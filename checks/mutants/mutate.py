"""Find the possible faults, and sample them. cosmic-ray's operators make the faults.

Only its operators are used, because cosmic-ray itself changes files in place and runs one command for all of them.
"""

import ast
import difflib
import random
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

from checks.mutants.parts import Part

Position = tuple[int, int]
# Equal values of the compared types are mostly the same object, so no test can tell these from the original.
_EQUIVALENT = ("_Eq_Is", "_NotEq_IsNot", "_Is_Eq", "_IsNot_NotEq")

# Keywords of a Struct that forbid what correct code never does, so no test can notice their absence.
_UNNOTICED = frozenset({"frozen", "kw_only"})


class Mutant(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: an operator applied at the n-th place in a file where it is possible. Lines count from 1."""

    part: str
    module: str
    operator: str
    occurrence: int
    line: int
    last_line: int
    key: str
    diff: str


class _Kept(msgspec.Struct, frozen=True):
    """A sample, and a digest of the code that it is from."""

    code: str
    count: int
    mutants: list[Mutant]


class _Variant(msgspec.Struct, frozen=True):
    """A possible change of the code at a place."""

    operator: str
    occurrence: int


def sample(root: Path, part: Part, seed: int, count: int) -> list[Mutant]:
    """Choose mutants of a part: first a random place in the code, all equally likely, then a random fault for it.

    A larger count with the same seed begins with the same mutants.

    Args:
        root: The repository.
        part: The part to put faults into.
        seed: Decides the choice, together with the code.
        count: The number of mutants; fewer if the code has fewer places.
    """
    # The choice must be reproducible, and is not secret.
    chance = random.Random(f"{seed} {part.name}")  # noqa: S311
    places = [
        (module, start, end, variants)
        for module in part.files(root)
        for (start, end), variants in sorted(_places((root / module).read_text(encoding="utf-8")).items())
    ]
    chance.shuffle(places)
    chosen: list[Mutant] = []
    for module, start, end, variants in places:
        if len(chosen) == count:
            break
        source = (root / module).read_text(encoding="utf-8")
        # Seeded for each place, so that the choice at one place does not depend on which changes are valid at others.
        at = random.Random(f"{seed} {module} {start}")  # noqa: S311
        for variant in at.sample(variants, len(variants)):
            changed = mutated(source, variant.operator, variant.occurrence)
            if _differs(source, changed):
                difference = _diff(module, source, changed)
                chosen.append(
                    Mutant(
                        part=part.name, module=module, operator=variant.operator, occurrence=variant.occurrence,
                        line=start[0], last_line=end[0], diff=difference,
                        key=sha256(f"{module}\0{changed}".encode()).hexdigest()[:16],
                    )
                )  # fmt: skip
                break
    return chosen


def kept_sample(root: Path, part: Part, seed: int, count: int, folder: Path) -> list[Mutant]:
    """Return what `sample` does, from a file if the code is unchanged, because finding all places takes half a minute.

    Args:
        root: The repository.
        part: The part to put faults into.
        seed: Decides the choice, together with the code.
        count: The number of mutants.
        folder: The folder of the file.
    """
    code = sha256(b"".join(name.encode() + (root / name).read_bytes() for name in part.files(root))).hexdigest()
    file = folder / f"sample-{part.name}-{seed}.json"
    if file.exists():
        kept = msgspec.json.decode(file.read_bytes(), type=_Kept)
        if kept.code == code and kept.count >= count:
            return kept.mutants[:count]
    mutants = sample(root, part, seed, count)
    folder.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.encode(_Kept(code=code, count=count, mutants=mutants)))
    return mutants


def mutated(source: str, operator: str, occurrence: int) -> str:
    """Return the code with the fault.

    Args:
        source: The code of a module.
        operator: The name of cosmic-ray's operator.
        occurrence: The number of the place among those where it is possible, from 0.
    """
    return str(mutate_code(source, _operators()[operator], occurrence))


@cache
def _operators() -> dict[str, Any]:
    """Return an instance of each operator that needs no arguments and whose faults can be noticed."""
    found = {}
    for name in sorted(operator_names()):
        operator = get_operator(name)
        if not name.endswith(_EQUIVALENT) and not operator.arguments():
            found[name] = operator()
    return found


def _places(source: str) -> dict[tuple[Position, Position], list[_Variant]]:
    """Return every place that can be changed, with its possible changes."""
    nodes = list(ast_nodes(get_ast(source)))
    left_out = list(_left_out(ast.parse(source)))
    places = defaultdict(list)
    for name, operator in _operators().items():
        positions = [position for node in nodes for position in operator.mutation_positions(node)]
        for occurrence, (start, end) in enumerate(positions):
            if not any(first <= start and end <= last for first, last in left_out):
                places[start, end].append(_Variant(name, occurrence))
    return places


def _left_out(tree: ast.Module) -> Iterator[tuple[Position, Position]]:
    """Yield the ranges whose change no test can notice: annotations, type-checking imports, and options of structs."""
    for node in ast.walk(tree):
        notes: list[ast.AST | None] = []
        if isinstance(node, ast.AnnAssign | ast.arg):
            notes = [node.annotation]
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            notes = [node.returns]
        elif isinstance(node, ast.ClassDef):
            notes = [keyword.value for keyword in node.keywords if keyword.arg in _UNNOTICED]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            notes = [node]
        for note in notes:
            if isinstance(note, ast.expr | ast.stmt) and note.end_lineno and note.end_col_offset is not None:
                yield (note.lineno, note.col_offset), (note.end_lineno, note.end_col_offset)


def _differs(source: str, changed: str) -> bool:
    """Return whether the changed text is valid code, and differs from the original in more than its form."""
    try:
        return ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


def _diff(module: str, source: str, changed: str) -> str:
    lines = difflib.unified_diff(
        source.splitlines(), changed.splitlines(), fromfile=module, tofile="mutant", lineterm="", n=2
    )
    return "\n".join(lines)
