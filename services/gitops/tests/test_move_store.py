"""`gitops move-store` without the copying: the direction, the keys, and the commit."""

from pathlib import Path

import pytest

from gitops.cluster.secrets import bootstrap_secrets, make_secrets
from gitops.errors import BadInputError, NotConvergedError
from gitops.git.repository import Repository
from gitops.git.snapshot import Snapshot
from gitops.platform.model import Environment, Platform, Registry
from gitops.platform.reader import FILE, read_platform
from gitops.stores.copying import Pass
from gitops.stores.moving import Route, refuse_unlike, root_keys, route, said, switched
from services.gitops.tests.conftest import git
from services.gitops.tests.memory_cluster import MemoryCluster

PLATFORM = Platform(
    repository="https://git.example.com/flora/petals.git",
    registry=Registry(prefix="registry.example.com/flora/petals"),
    environments=[Environment(name="staging")],
)
THERE = Route(source="minio", target="seaweedfs", late=False)


def snapshot(fork: Path) -> Snapshot:
    repository = Repository(fork)
    return Snapshot(repository, repository.commit_named("HEAD"))


def test_without_a_second_store_the_error_names_a_remedy() -> None:
    with pytest.raises(BadInputError, match="add `nextStore: seaweedfs`, push it"):
        route(PLATFORM, late=False)


def test_the_switch_is_one_commit_that_changes_the_two_lines(fork: Path) -> None:
    before = (fork / FILE).read_text()
    (fork / FILE).write_text(f"{before.rstrip()}\nnextStore: seaweedfs  # for a while\n")
    git(fork, "commit", "--all", "--message", "Run both")

    (proposal,) = switched(THERE)(snapshot(fork))

    text = proposal.files[FILE] or ""
    after = read_platform(text)
    assert (after.store, after.next_store) == ("seaweedfs", "minio")
    assert proposal.message.splitlines()[0] == "move(store): seaweedfs"
    assert "store: minio -> seaweedfs" in proposal.message
    assert [line for line in before.splitlines() if line not in text.splitlines()] == []


def test_a_second_switch_changes_nothing(fork: Path) -> None:
    (proposal,) = switched(Route(source="seaweedfs", target="minio", late=False))(snapshot(fork))
    assert (proposal.files, proposal.left_alone) == ({}, "minio is already the store")


def test_both_stores_have_the_same_root_user() -> None:
    cluster = MemoryCluster()
    with pytest.raises(BadInputError, match="ml-pipeline/minio-root has no root-user: run gitops bootstrap first"):
        root_keys(cluster)
    make_secrets(cluster, bootstrap_secrets(PLATFORM))
    key_id, secret = root_keys(cluster)
    assert (len(key_id), len(secret)) == (20, 40)


def test_nothing_is_switched_while_objects_are_still_written() -> None:
    with pytest.raises(NotConvergedError, match="objects are still being written: 3 in the last one"):
        refuse_unlike([Pass(objects=9, same=6, copied=3), Pass()])


def test_the_description_of_a_pass() -> None:
    done = Pass(objects=5, size=70, same=2, copied=1, missing=1, newer=1)
    assert said(done) == (
        "5 objects, 70 bytes, 2 with the same digest, 1 copied, 1 missing, 1 newer in the store in use"
    )
