"""The serving chart offers serving's settings with the same bounds, and a new setting needs no edit of the chart."""

import json
from typing import Annotated, Any, Literal

import msgspec
import pytest
import yaml
from msgspec import Meta

from serving import environment
from serving.settings import Settings
from tests.support import helm
from tools.chart_values.settings import Setting, offered
from tools.chart_values.texts import replace_block

CHART = helm.CHARTS / "model-serving"
OFFERED = offered()
BOUNDED = [found for found in OFFERED if {"minimum", "maximum"} & set(found.schema)]


class Newer(msgspec.Struct, frozen=True, rename=str.upper):
    """Settings that serving does not have yet."""

    port: Annotated[int, Meta(description="set by the chart")] = 8080
    cors_origins: Annotated[str, Meta(description="who may ask from a browser, separated by commas")] = ""
    log_token: Annotated[str, Meta(description="a secret")] = ""
    log_share: Annotated[float, Meta(ge=0, le=1, description="how much is logged")] = 0.25
    log_place: Annotated[str, Meta(pattern="^(s3://.+)?$", description="where to")] = ""
    log_form: Annotated[Literal["parquet", "json"], Meta(description="and how")] = "parquet"


class Untold(msgspec.Struct, frozen=True, rename=str.upper):
    """A setting that is neither text, number, switch nor choice."""

    places: Annotated[tuple[int, ...], Meta(description="no value of the chart")] = ()


def test_a_new_setting_is_offered_by_itself() -> None:
    found = {setting.name: (setting.default, setting.comment, setting.schema) for setting in offered(Newer)}
    comment = "Who may ask from a browser"
    items = {"type": "string", "minLength": 1, "pattern": "^[^,]+$"}
    assert found == {
        "corsOrigins": ([], comment, {"type": "array", "items": items, "description": comment}),
        "logShare": (
            0.25,
            "How much is logged",
            {"type": "number", "minimum": 0, "maximum": 1, "description": "How much is logged"},
        ),
        "logPlace": ("", "Where to", {"type": "string", "pattern": "^(s3://.+)?$", "description": "Where to"}),
        "logForm": (
            "parquet",
            "And how: `parquet`, `json`",
            {"type": "string", "enum": ["parquet", "json"], "description": "And how: `parquet`, `json`"},
        ),
    }


def test_a_setting_that_cannot_be_a_value_is_named() -> None:
    with pytest.raises(TypeError, match="PLACES"):
        offered(Untold)


def test_the_chart_has_what_serving_has() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["settings"]
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))["properties"]["settings"]
    assert values == {setting.name: setting.default for setting in OFFERED}
    assert schema["properties"] == {setting.name: setting.schema for setting in OFFERED}


@pytest.mark.parametrize("setting", BOUNDED, ids=lambda setting: setting.name)
def test_bounds_are_those_of_the_server(setting: Setting) -> None:
    for bound, beyond in (("minimum", -1), ("maximum", 1)):
        if bound in setting.schema:
            edge = setting.schema[bound]
            assert settings_with(setting, edge) is not None
            assert settings_with(setting, edge + beyond) is None


def settings_with(setting: Setting, value: Any) -> Settings | None:
    # The longest wait must not be below the shortest one, so both change together.
    others = {"RETRY_MAX_SECONDS": "3600", "RETRY_MIN_SECONDS": "0.01"}
    try:
        return environment.read(Settings, {**others, setting.variable: str(value)})
    except environment.SettingsError:
        return None


def test_a_file_without_its_marks_is_named() -> None:
    with pytest.raises(ValueError, match="# >>> settings"):
        replace_block("settings: {}\n", "settings", "a file", "settings: {}\n")
