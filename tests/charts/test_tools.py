"""tools/install is quick and silent if nothing is missing, and names what it cannot install."""

import subprocess

from tests.support import helm


def install(*names: str) -> subprocess.CompletedProcess[str]:
    command = [str(helm.ROOT / "tools" / "install"), *names]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_there_is_nothing_to_do_a_second_time() -> None:
    done = install("helm", "helm-unittest", "helm-docs")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_an_unknown_tool_is_refused_with_those_that_there_are() -> None:
    done = install("no-such-tool")
    assert done.returncode != 0
    assert "there is no tool no-such-tool" in done.stderr
    assert "helm-unittest" in done.stderr


def test_helm_is_the_one_that_argo_cd_renders_with() -> None:
    assert helm.run("helm", "version", "--short").output.startswith("v4.")
