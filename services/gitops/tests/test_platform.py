"""platform.yaml: one reader, a sentence for each mistake, a schema for editors, and edits of entries by lines."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gitops.documents import loaded
from gitops.errors import BadInputError
from gitops.platform import schema
from gitops.platform.entries import with_entry, without_entry
from gitops.platform.reader import load_platform, read_platform
from services.gitops.tests.conftest import ROOT

WHOLE: dict[str, Any] = {
    "repository": "https://git.example.com/flora/petals.git",
    "registry": {"prefix": "registry.example.com/flora/petals"},
    "environments": [
        {"name": "dev"},
        {"name": "qa", "from": "dev"},
        {"name": "production", "from": "qa", "minAge": "1h"},
        {"name": "eu", "from": "qa", "cluster": "west", "namespace": "ml-eu"},
    ],
    "services": [
        {"name": "iris", "model": "iris-classifier", "owner": "@flora/iris"},
        {"name": "wine", "model": "wine-classifier", "owner": "wine@example.com"},
    ],
    "clusters": {"west": {"server": "https://10.0.0.5:6443", "s3": "https://s3.example.com"}},
}


def problems(**changes: Any) -> str:
    with pytest.raises(BadInputError) as refused:
        read_platform(yaml.safe_dump({**WHOLE, **changes}))
    return str(refused.value)


def environment(**fields: Any) -> dict[str, Any]:
    return {"environments": [{"name": "dev"}, fields]}


def service(**fields: Any) -> dict[str, Any]:
    return {"services": [{"name": "iris", "model": "iris-classifier"}, {"model": "other", **fields}]}


def test_a_file_with_four_environments_on_two_clusters() -> None:
    platform = read_platform(yaml.safe_dump(WHOLE))
    assert [entry.where for entry in platform.environments] == [
        "ml-pipeline-dev",
        "ml-pipeline-qa",
        "ml-pipeline-production",
        "ml-eu",
    ]
    assert [entry.min_minutes for entry in platform.environments] == [0, 0, 60, 0]
    assert platform.cluster_of(platform.environments[-1]).server == "https://10.0.0.5:6443"
    assert (platform.slug, platform.web) == ("flora/petals", "https://git.example.com/flora/petals")


@pytest.mark.parametrize(
    ("repository", "slug", "web", "host"),
    [
        ("https://gitlab.example.com/a/b/c", "a/b/c", "https://gitlab.example.com/a/b/c", "gitlab.example.com"),
        ("git@github.com:flora/petals.git", "flora/petals", "https://github.com/flora/petals", "github.com"),
        ("ssh://git@host:2222/flora/petals.git", "flora/petals", "https://host/flora/petals", "host:2222"),
        ("http://git.e2e:8080/one.git/", "one", "http://git.e2e:8080/one", "git.e2e:8080"),
        ("https://ada@git.example.com/a/b.git", "a/b", "https://git.example.com/a/b", "git.example.com"),
    ],
)
def test_slug_page_and_host_follow_from_the_address(repository: str, slug: str, web: str, host: str) -> None:
    platform = read_platform(yaml.safe_dump({**WHOLE, "repository": repository}))
    assert (platform.slug, platform.web, platform.host) == (slug, web, host)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"repository": "flora/petals"}, "repository: 'flora/petals' is not an address to clone from"),
        ({"repository": "https://a:b@x.example/y.git"}, "a password does not belong"),
        ({"branch": "feature..x"}, "branch: 'feature..x' is not a valid name"),
        ({"registry": {"prefix": "https://ghcr.io/x"}}, "registry.prefix: 'https://ghcr.io/x' is not a registry"),
        ({"registry": {"prefix": "ghcr.io/Flora/petals"}}, "in lower case"),
        ({"forge": "sourceforge"}, "$.forge"),
        ({"colour": "red"}, "unknown field `colour`"),
        ({"store": "ceph"}, "$.store"),
        ({"nextStore": "minio"}, "nextStore: minio is already the store"),
        ({"environments": []}, "$.environments"),
        (environment(name="EU.Prod"), "'EU.Prod' cannot be the name of objects in a cluster"),
        (environment(name="prod_us"), "'prod_us' cannot be the name"),
        (environment(name="dev env"), "'dev env' cannot be the name"),
        (environment(name="prod.eu"), "'prod.eu' cannot be the name"),
        (environment(name="2024-pilot"), "'2024-pilot' cannot be the name"),
        (environment(name="true"), "'true' is not always read as text"),
        (environment(name="e" * 61), f"'iris-{'e' * 61}' has 66 characters, but may have at most 45"),
        (environment(name="e" * 61), "is longer than 63 characters"),
        (environment(name="platform"), "'platform' is a name of the shared parts"),
        (environment(name="candidate"), "'candidate' cannot be an alias of models"),
        (environment(name="v2"), "'v2' cannot be an alias of models"),
        (environment(name="dev"), "'dev' occurs 2 times"),
        (environment(name="qa", minAge="ten minutes"), "minAge"),
        (environment(name="qa", **{"from": "staging"}), "qa has `from: staging`, but there is no such environment"),
        (environment(name="qa", **{"from": "qa"}), "qa feeds itself"),
        (environment(name="qa", cluster="east"), "qa is on the cluster 'east', which is not in `clusters`"),
        (environment(name="qa", namespace="ml-pipeline-dev"), "dev and qa share the namespace ml-pipeline-dev"),
        (environment(name="qa", namespace="kube-system"), "kube-system of qa is used"),
        (environment(name="qa", namespace="Qa"), "the namespace 'Qa' of qa is not a DNS label"),
        (
            {"environments": [{"name": "a", "from": "b"}, {"name": "b", "from": "a"}]},
            "a feeds itself through its `from`: a <- b",
        ),
        (
            {"environments": [{"name": "a", "from": "b"}, {"name": "b", "from": "a"}]},
            "nothing new can reach any of them",
        ),
        ({"clusters": {"west": {"server": "10.0.0.5"}}}, "clusters.west.server: '10.0.0.5' is not an address"),
        ({"clusters": {"west": {"server": "https://10.0.0.5"}}}, "clusters.west.s3 is missing"),
        (
            {"clusters": {"west": {"server": "https://10.0.0.5", "s3": "http://minio.ml-pipeline:9000"}}},
            "minio.ml-pipeline is a name inside one cluster",
        ),
        (
            {"clusters": {"west": {"server": "https://1.2.3.4", "s3": "https://s3.example.com", "mlflow": "mlflow"}}},
            "clusters.west.mlflow: 'mlflow' is not an address",
        ),
        (service(name="Wine"), "'Wine' cannot be the name"),
        (service(name="training"), "'training' is a name of the shared parts"),
        (service(name="iris"), "'iris' occurs 2 times"),
        (service(name="wine", model="iris-classifier"), "iris and wine both serve iris-classifier"),
        (service(name="wine", model="wine/3"), "the model 'wine/3' of wine is not the name of a registered model"),
        (service(name="wine", owner="team wine"), "the owner 'team wine' of wine is not @USER"),
        (service(name="wine", legacyName="Serving"), "the legacyName 'Serving' of wine is not a DNS label"),
        (service(name="serving-dev", legacyName="iris"), "services"),
    ],
)
def test_each_mistake_is_a_sentence(changes: dict[str, Any], named: str) -> None:
    if named == "services":
        changes = {
            "services": [*service(name="wine", legacyName="serving")["services"], {"name": "serving-dev", "model": "x"}]
        }
        named = "wine and serving-dev both have objects of the name 'serving-dev' in dev"
    assert named in problems(**changes)


@pytest.mark.parametrize("address", ["http://10.0.0.9:9000", "http://[fd00::9]:9000", "https://s3.example.com"])
def test_the_store_of_a_cluster_may_have_an_ip_address(address: str) -> None:
    clusters = {"west": {"server": "https://10.0.0.5:6443", "s3": address}}
    platform = read_platform(yaml.safe_dump({**WHOLE, "clusters": clusters}))
    assert platform.clusters["west"].s3 == address


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "platform.yaml").write_bytes(b"repository: \xff\n")
    with pytest.raises(BadInputError, match=r"^platform\.yaml cannot be read: .*utf-8"):
        load_platform(tmp_path)
    (tmp_path / "platform.yaml").unlink()
    (tmp_path / "platform.yaml").mkdir()
    with pytest.raises(BadInputError, match=r"^platform\.yaml cannot be read: .*directory"):
        load_platform(tmp_path)


def test_services_and_environments_that_share_an_application_are_refused() -> None:
    said = problems(
        environments=[{"name": "b-c"}, {"name": "c"}],
        services=[{"name": "a", "model": "one"}, {"name": "a-b", "model": "two"}],
    )
    assert "would share the application 'a-b-c'" in said


def test_all_mistakes_are_reported_together() -> None:
    said = problems(branch="..", **service(name="Wine"))
    assert len(said.splitlines()) == 2
    assert all(line.startswith("platform.yaml: ") for line in said.splitlines())


def test_the_schema_for_editors_fits_the_reader() -> None:
    file = ROOT / "services/gitops/platform.schema.json"
    assert file.read_text() == schema.text(), "make derived"
    validator = Draft202012Validator(json.loads(file.read_text()))
    validator.validate(WHOLE)
    validator.validate(loaded((ROOT / "platform.yaml").read_text()))
    assert not validator.is_valid({**WHOLE, "environments": [{"name": "qa", "form": "dev"}]})
    assert not validator.is_valid({**WHOLE, "environments": [{"name": "qa", "minAge": "soon"}]})


def test_the_projects_own_file_is_valid() -> None:
    assert load_platform(ROOT).services


LISTS = {
    "flow": "services:\n  - {name: iris, model: i}  # the first\n  # a thought\nbranch: main\n",
    "block": "services:\n- name: iris\n  # which\n  model: i\n\n# a thought\nbranch: main\n",
    "at the end": "branch: main\n# a thought\nservices:\n    - {name: iris, model: i}",
    "one line": "# a thought\nservices: [{name: iris, model: i}]\nbranch: main\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_an_entry_is_added_and_removed_as_a_line(text: str) -> None:
    wine = {"name": "wine", "model": "w", "owner": "@flora"}
    more = with_entry(text, "services", wine)
    assert loaded(more)["services"] == [{"name": "iris", "model": "i"}, wine]
    between = with_entry(more, "services", {"name": "pear", "model": "p"}, after="iris")
    assert [entry["name"] for entry in loaded(between)["services"]] == ["iris", "pear", "wine"]
    assert "# a thought" in between
    without = without_entry(without_entry(between, "services", "pear"), "services", "wine")
    assert loaded(without) == loaded(text)
    assert text.count("\n") - 2 < without.count("\n") <= text.count("\n") + 1
    empty = without_entry(without, "services", "iris")
    assert loaded(empty) == {"services": [], "branch": "main"}
    assert "# a thought" in empty
    assert loaded(with_entry(empty, "services", wine))["services"] == [wine]


@pytest.mark.parametrize("text", ["branch: main\n", "branch: main", "services:\nbranch: main\n"])
def test_an_entry_creates_a_missing_list(text: str) -> None:
    entry = {"name": "on", "owner": "@a", "model": 'with "quotes"'}
    assert loaded(with_entry(text, "services", entry))["services"] == [entry]


def test_a_list_in_another_form_is_not_edited() -> None:
    with pytest.raises(BadInputError, match="edit"):
        with_entry("services: &s\n  - {name: iris}\nmore: *s\n", "services", {"name": "wine"})
