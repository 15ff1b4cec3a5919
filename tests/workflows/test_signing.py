"""Proves tools/sign-image with the real cosign and a real registry: it signs and attests this image with this key.

Skipped without cosign, because building it takes minutes: tools/install cosign.
"""

import base64
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.workflows.fork import push_image
from tests.workflows.workflow import ROOT

COSIGN = shutil.which("cosign", path=f"{ROOT / '.cache/tools/bin'}:{os.environ['PATH']}")
pytestmark = pytest.mark.skipif(COSIGN is None, reason="cosign is not there: tools/install cosign")
# Without a transparency log, because the key is only for tests.
FLAGS = "--allow-http-registry --use-signing-config=false --tlog-upload=false"


@dataclass(frozen=True)
class Signer:
    """A key pair, and two unsigned images in a registry."""

    folder: Path
    images: tuple[str, str]

    def sign(self, name: str, image: str) -> subprocess.CompletedProcess[str]:
        """Run the script."""
        return self._run([str(ROOT / "tools/sign-image"), name, image])

    def verify(self, verb: str, image: str, *options: str, key: str = "cosign.pub") -> subprocess.CompletedProcess[str]:
        """Verify with cosign."""
        known = ["--key", str(self.folder / key), "--insecure-ignore-tlog=true", "--allow-http-registry"]
        return self._run([str(COSIGN), verb, *known, *options, image])

    def new_key(self, prefix: str) -> None:
        """Make a key pair."""
        made = self._run([str(COSIGN), "generate-key-pair", "--output-key-prefix", prefix])
        assert made.returncode == 0, made.stderr

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "COSIGN_PASSWORD": "password",
            "COSIGN_KEY": str(self.folder / "cosign.key"),
            "COSIGN_FLAGS": FLAGS,
        }
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture
def signer(tmp_path: Path, registry: str, tools: Path) -> Signer:
    references = [f"{registry}/you/serving:{name}" for name in ("one", "other")]
    one, other = (f"{name}@{push_image(tools / 'crane', name, name, tmp_path)}" for name in references)
    made = Signer(folder=tmp_path, images=(one, other))
    made.new_key("cosign")
    return made


def test_the_signature_and_the_bill_of_materials_are_this_images(signer: Signer) -> None:
    signed, unsigned = signer.images
    done = signer.sign("serving", signed)
    assert done.returncode == 0, done.stderr
    assert signer.verify("verify", signed).returncode == 0
    attested = signer.verify("verify-attestation", signed, "--type", "cyclonedx")
    assert attested.returncode == 0, attested.stderr
    statement = json.loads(base64.b64decode(json.loads(attested.stdout)["payload"]))
    assert statement["subject"][0]["digest"]["sha256"] == signed.partition("@sha256:")[2]
    listed = {part["name"] for part in statement["predicate"]["components"]}
    assert {"litestar", "onnxruntime"} <= listed

    assert signer.verify("verify", unsigned).returncode != 0
    signer.new_key("stranger")
    assert signer.verify("verify", signed, key="stranger.pub").returncode != 0


def test_only_digests_of_our_own_images_are_signed(signer: Signer) -> None:
    tag = signer.images[0].partition("@")[0]
    assert "a tag can move" in signer.sign("serving", tag).stderr
    assert "none of our images" in signer.sign("stranger", signer.images[0]).stderr
    assert signer.verify("verify", signer.images[0]).returncode != 0
