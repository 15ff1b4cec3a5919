"""What counts as a reason to train a model again: the settings `due` in its training.yaml."""

from typing import Annotated

from msgspec import Meta, Struct

Days = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0)]


class DueSettings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What counts as a reason to train the model again, for `training due` and `training run --if-due`.

    Attributes:
        days: The model is due when its newest version is older than this many days; null for never.
        rows: The model is due when its data has grown by this share since the newest version was trained: 0.1 means
            10 % more rows, 0 means any change of content. Null for never.
        alerts: The model is due when one of these alerts of Prometheus fires for it.
        settings: Whether the model is due when its training.yaml or pipeline.py has changed.
        patience: For this many days after a version was trained, alerts that fired before do not count: the version
            still waits for its promotion, and alerts look back at requests that came before it.
    """

    days: Days | None = 30
    rows: Share | None = 0.1
    alerts: tuple[str, ...] = ("ModelQualityBelowGate", "ModelInputDrift", "ModelPredictionDrift")
    settings: bool = True
    patience: Annotated[float, Meta(ge=0)] = 1
