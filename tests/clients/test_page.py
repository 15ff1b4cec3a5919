"""The page at /docs in a real browser: it has a field for each column, and sends a body made from them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from services.serving.tests.mixed import ROW, write_mixed
from tests.clients.browser import DRIVER, Browser, browser
from tests.integration.serving_fixtures import served

BODY = "return document.querySelector('#operations details[open] > textarea').value"
OUTPUT = "return document.querySelector('#operations details[open] > pre:not([hidden])')?.textContent"

pytestmark = pytest.mark.skipif(not DRIVER, reason="chromedriver is not installed here")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    folder = tmp_path_factory.mktemp("page")
    digest = write_mixed(folder / "model")
    pin = {"MODEL_VERSION": "7", "MODEL_URI": (folder / "model").as_uri(), "MODEL_DIGEST": digest}
    with served(folder, pin) as (server, _), browser() as window:
        window.open(f"{server.url}/docs")
        yield window


def features(page: Browser) -> Any:
    return json.loads(page.run(BODY))["features"]


@pytest.mark.timeout(180)
def test_a_row_is_filled_in_and_answered(page: Browser) -> None:
    assert page.wait("return document.querySelectorAll('form label').length") == len(ROW)
    assert features(page) == ROW
    for name, text in (
        ("island", "Dream"),
        ("bill (mm)", "51.5"),
        ("eggs", "3"),
        ("ringed", "false"),
        ("sex", "female"),
    ):
        page.fill(f'form [name="{name}"]', text)
    expected = {**ROW, "island": "Dream", "bill (mm)": 51.5, "eggs": 3, "ringed": False, "sex": "female"}
    # In the form of a browser's field for dates and times.
    assert features(page) == {**expected, "seen": "2023-11-15T08:30"}
    page.click("#operations details[open] > button")
    assert page.wait(OUTPUT).startswith("200 ")
    assert '"prediction":' in page.run(OUTPUT)


@pytest.mark.timeout(180)
def test_an_empty_field_is_null(page: Browser) -> None:
    page.wait("return document.querySelector('form')")
    page.fill('form [name="bill (mm)"]', "")
    page.fill('form [name="sex"]', "")
    page.run("document.querySelector('form').oninput()")
    assert (features(page)["bill (mm)"], features(page)["sex"]) == (None, None)
    assert not page.run("return document.querySelector('form [name=\"bill (mm)\"]').required")
    assert page.run("return document.querySelector('form [name=island]').required")
