"""Proves that docs/bring-your-own-table.md works unchanged, except for ports and the files' folder."""

import os
from pathlib import Path

import pytest

from embedded.servers import mlflow_server
from tests.integration.page import Page
from tests.support.mlflow_tables import with_tables
from training.model_folder import read_model_file

PAGE = Page("bring-your-own-table.md")


def test_the_settings_of_the_page_are_valid(tmp_path: Path) -> None:
    (settings,) = PAGE.blocks("yaml")
    (tmp_path / "training.yaml").write_text(settings)
    assert set(read_model_file(tmp_path / "training.yaml").columns) == {"row_id", "city", "postcode", "birthday", "age"}


@pytest.mark.timeout(360)
def test_the_page_leads_to_an_answer(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    with mlflow_server(with_tables(tmp_path_factory, tmp_path)) as mlflow:
        environment = {**os.environ, "MLFLOW_TRACKING_URI": mlflow.url}
        for beginning in ("training run --data", "training promote"):
            PAGE.run(beginning, environment)
        answer = PAGE.answer(tmp_path, mlflow.url)
    assert (answer["prediction"], answer["model_version"]) == ("Gentoo", "v1.0.0")
