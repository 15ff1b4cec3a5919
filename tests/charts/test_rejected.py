"""Charts refuse contradictory or malformed values, with a sentence that says what is wrong.

Every fixture under rejected/CHART/ starts with `# rejected: TEXT`. Rendered on top of the chart's first scenario, it
must fail with that text. Every error message of a template has a fixture, and each schema names the fixtures that test
its rules, so that no rule is untested.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import helm

REJECTED = Path(__file__).parent / "rejected"
MARK = "# rejected: "
FIXTURES = [
    pytest.param(path.parent.name, path, id=f"{path.parent.name}-{path.stem}")
    for path in sorted(REJECTED.glob("*/*.yaml"))
]


def reason(fixture: Path) -> str:
    first = fixture.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith(MARK), f"{fixture} must start with: {MARK}TEXT"
    return first.removeprefix(MARK).strip()


@pytest.mark.parametrize(("chart", "fixture"), FIXTURES)
def test_is_rejected(chart: str, fixture: Path) -> None:
    outcome = helm.template(chart, helm.scenarios(chart)[0], fixture)
    assert outcome.code != 0, f"{fixture} rendered"
    assert reason(fixture) in outcome.errors
    assert outcome.output == ""


@pytest.mark.parametrize("chart", helm.charts())
def test_every_refusal_of_a_template_is_tried(chart: str) -> None:
    """A fixture's text must be part of the template's sentence, up to the first placeholder."""
    tried = [reason(path) for path in REJECTED.glob(f"{chart}/*.yaml")]
    assert [text for text in sentences(chart) if not any(fits(known, text) for known in tried)] == []


def test_every_refusal_that_charts_share_is_tried_with_one_of_them() -> None:
    tried = [reason(path) for path in REJECTED.glob("*/*.yaml")]
    assert [text for text in sentences("common") if not any(fits(known, text) for known in tried)] == []


@pytest.mark.parametrize("chart", helm.charts())
def test_the_schema_names_the_fixtures_that_try_it(chart: str) -> None:
    schema = json.loads((helm.CHARTS / chart / "values.schema.json").read_text(encoding="utf-8"))
    intro, _, names = schema["$comment"].partition(": ")
    assert intro == f"Tried with tests/charts/rejected/{chart}"
    by_schema = [
        path.stem
        for path in sorted(REJECTED.glob(f"{chart}/*.yaml"))
        if not any(fits(reason(path), text) for text in (*sentences(chart), *sentences("common")))
    ]
    assert names.split(", ") == by_schema


def sentences(chart: str) -> list[str]:
    """Return every error message of the chart's templates."""
    sources = [
        path.read_text(encoding="utf-8")
        for suffix in ("tpl", "yaml")
        for path in (helm.CHARTS / chart / "templates").rglob(f"*.{suffix}")
    ]
    return [text for source in sources for text in re.findall(r'(?:fail|required) (?:\(printf )?"([^"]+)"', source)]


def fits(known: str, sentence: str) -> bool:
    """Return whether a fixture's text is part of a sentence in which printf replaces placeholders."""
    longest = max(re.split(r"%[a-z]", sentence), key=len).strip()
    return longest in known or known in longest


@pytest.mark.parametrize("chart", helm.charts())
def test_the_schema_refuses_unknown_values(chart: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text("notAValue: 1\n", encoding="utf-8")
    outcome = helm.template(chart, helm.scenarios(chart)[0], values)
    assert outcome.code != 0
    assert "notAValue" in outcome.errors


def sections(values: Any, schema: Any, whole: Any, path: str = "") -> Iterator[str]:
    """Yield every mapping of a chart's values that has known keys, as `a.b`."""
    for name, value in values.items():
        known = schema.get("properties", {}).get(name, {})
        known = whole["$defs"][known["$ref"].rpartition("/")[2]] if "$ref" in known else known
        if isinstance(value, dict) and known.get("properties"):
            yield (where := f"{path}{name}")
            yield from sections(value, known, whole, f"{where}.")


SECTIONS = [
    pytest.param(chart, section, id=f"{chart}-{section}")
    for chart in helm.charts()
    if (schema := json.loads((helm.CHARTS / chart / "values.schema.json").read_text(encoding="utf-8")))
    for section in sections(yaml.safe_load((helm.CHARTS / chart / "values.yaml").read_text()), schema, schema)
]


@pytest.mark.parametrize(("chart", "section"), SECTIONS)
def test_a_section_without_content_renders_or_is_refused_by_its_name(chart: str, section: str, tmp_path: Path) -> None:
    """`section:` with nothing below it is null, which removes the chart's defaults before a template reads them."""
    values = tmp_path / "values.yaml"
    names = section.split(".")
    levels = [f"{'  ' * depth}{name}:" for depth, name in enumerate(names)]
    values.write_text("\n".join(levels) + "\n", encoding="utf-8")
    outcome = helm.template(chart, helm.scenarios(chart)[0], values)
    missing = f"'{names[-1]}'"
    assert outcome.code == 0 or re.search(rf"at '/?{'/'.join(names[:-1])}': missing propert.*{missing}", outcome.errors)
