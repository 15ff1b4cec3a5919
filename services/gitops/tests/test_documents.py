"""YAML of the fork's own files: keys that occur twice, and errors in one line that say where."""

import pytest

from gitops.documents import YAMLError, loaded, loaded_all


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("branch: main\nbranch: other\n", "line 2, column 1: the key 'branch' occurs twice, first in line 1"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "line 4, column 3: the key 'b' occurs twice, first in line 2"),
        ("a: {b: 1, b: 2}\n", "line 1, column 11: the key 'b' occurs twice, first in line 1"),
        ('- a: 1\n  "a": 2\n', "line 2, column 3: the key 'a' occurs twice, first in line 1"),
        ("a: &x {c: 1, c: 2}\n", "'c' occurs twice"),
        ("a: [\n", "line 2, column 1: did not find expected node content"),
        ("a: 1\n b: 2\n", "line 2, column 3: mapping values are not allowed in this context"),
        ("a: 1\n---\nb: 2\n", "line 2, column 1: found another document"),
        ("a: *b\n", "line 1, column 4: found undefined alias"),
        ("a:\n\tb: 1\n", "line 2, column 1: found character that cannot start any token"),
        ("a: 1\n? {b: 1}\n: c\n", "line 2, column 3: found unhashable key"),
        ("a: \x00\n", "control characters are not allowed"),
    ],
)
def test_an_error_is_one_line_that_says_where(text: str, named: str) -> None:
    with pytest.raises(YAMLError) as error:
        loaded(text)
    assert named in str(error.value)
    assert "\n" not in str(error.value)
    assert "unicode string" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: &x {c: 1}\nb: {<<: *x, c: 2}\n",  # overrides a merged key
        "a: &x {c: 1}\nb: {<<: [*x, {c: 3}], d: 2}\n",
        "y: &y {c: 1}\nx: &x {<<: *y, c: 2}\nb: {<<: *x}\nd: *x\n",  # merged more than once
        "a: 1\nA: 2\n",
        "1: a\n'1': b\n",
    ],
)
def test_keys_that_only_look_alike_are_kept(text: str) -> None:
    assert loaded(text)


def test_manifests_of_others_may_repeat_a_key_as_helm_and_kubectl_read_them() -> None:
    assert loaded_all("a: 1\na: 2\n---\nb: 1\n") == [{"a": 2}, {"b": 1}]
