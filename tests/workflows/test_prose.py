"""Proves that the prose check finds bad prose, passes plain words, and that the documentation is clean."""

import re
from pathlib import Path

import pytest

from checks.prose import Phrase, Rules, documents, main, problems, problems_of_program, prose
from checks.texts import alert_texts, programs, python_texts
from tests.workflows.workflow import ROOT

RULES = Rules.read()
GOOD = "The server reads the file when it starts. A restart keeps the model."


def found(text: str) -> list[tuple[int, str]]:
    return [(problem.line, problem.text) for problem in problems(text, RULES)]


@pytest.mark.parametrize("phrase", RULES.phrases, ids=lambda phrase: phrase.example)
def test_every_phrase_finds_its_example_and_passes_what_is_allowed(phrase: Phrase) -> None:
    assert list(phrase.found(phrase.example))
    assert not list(phrase.found(phrase.allowed))
    assert not list(phrase.found(GOOD))
    [(line, text)] = [hit for hit in found(f"# Title\n\n{phrase.example}\n") if phrase.why in hit[1]]
    assert line == 3
    assert phrase.say in text


def test_plain_words_pass() -> None:
    assert found(f"# Title\n\n{GOOD}\n") == []


def test_a_phrase_over_two_lines_is_found() -> None:
    assert [line for line, _ in found("One line.\n\nThe file is taken\naway by the job.\n")] == [3]


def test_proselint_runs() -> None:
    [(line, text)] = found("One line.\n\nThe loop runs for ever and waits.\n")
    assert line == 3
    assert "archaic" in text
    assert text.endswith("(proselint)")


def test_a_long_sentence_is_found_where_it_begins() -> None:
    words = " ".join(["word"] * (RULES.words + 1))
    [(line, text)] = found(f"# Title\n\nA short one.\nIt is short.\n{words.capitalize()}.\n")
    assert line == 5
    assert f"{RULES.words + 1} words" in text


def test_two_sentences_a_list_and_a_table_are_not_long() -> None:
    half = " ".join(["word"] * (RULES.words - 5))
    assert found(f"{half.capitalize()}. {half.capitalize()}.\n") == []
    assert found(f"- {half}\n- {half}\n1. {half}\n") == []
    assert found(f"| {half} | {half} |\n") == []


def test_code_and_addresses_are_not_prose() -> None:
    text = "```shell\necho whoever\n```\n\nThe `whoever` of [a link](https://example.com/anew), and `an\nanew` code.\n"
    assert found(text) == []
    assert prose(text).count("\n") == text.count("\n")


def test_the_help_of_a_command_is_prose() -> None:
    text = "```console\n$ gitops hold --help\n│ --to  Whoever is told. │\n```\n"
    assert [line for line, _ in found(text)] == [3]


def test_the_documentation_is_checked_and_clean(capsys: pytest.CaptureFixture[str]) -> None:
    checked = documents(ROOT, RULES)
    assert {Path("README.md"), Path("docs/delivery.md"), Path("charts/postgres/README.md")} <= set(checked)
    assert Path("CHANGELOG.md") not in checked
    assert main([]) == 0, capsys.readouterr().err


def test_a_bad_file_fails_with_its_name_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "page.md").write_text("# Title\n\nThe body is no JSON.\n", encoding="utf-8")
    assert main([str(tmp_path / "page.md")]) == 1
    assert re.match(r".*/page\.md:3: 'is no JSON': .* Write: is not a", capsys.readouterr().err)


def test_the_texts_of_programs_and_alerts_are_checked() -> None:
    checked = set(programs(RULES.programs))
    assert {Path("training/src/training/options.py"), Path("charts/observability/rules/slo.yaml")} <= checked
    assert not [path for path in checked if "tests" in path.parts]


def test_a_message_of_a_program_fails_at_its_line(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        '"""The body is no JSON."""\n\n\ndef run(what: str) -> str:\n    return f"{what} is no JSON here"\n'
    )
    [problem] = problems_of_program(program, RULES)
    assert problem.line == 5
    assert problem.text.startswith("'is no JSON'")


def test_the_help_of_an_option_counts_and_a_docstring_does_not() -> None:
    source = 'class Options:\n    """How it runs."""\n\n    again: bool = False\n    """Run it anew, as before."""\n'
    assert list(python_texts(source)) == [(5, "Run it anew, as before.")]


def test_the_texts_of_an_alert_are_found_at_its_line() -> None:
    source = (
        "groups:\n  - name: one\n    rules:\n      - alert: Down\n        annotations:\n"
        "          summary: It is away.\n          description: Look.\n"
    )
    assert list(alert_texts(source)) == [(4, "It is away."), (4, "Look.")]
