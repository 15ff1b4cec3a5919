"""Compare a shadow with the version that answers, since both were pinned together. The figures are from Prometheus."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec import Struct

from gitops.cluster.prometheus import Prometheus
from gitops.pins.release import Shadow
from gitops.platform.targets import Target

_ROWS, _ANSWERS = "serving_shadow_rows_total", "serving_shadow_answers_total"
_SHADOW_SECONDS, _SECONDS = "serving_shadow_inference_seconds_bucket", "serving_inference_seconds_bucket"
_DIFFERENCE = "serving_shadow_difference_bucket"
_SHORTEST = 60


class Rows(Struct, frozen=True, kw_only=True):
    """How many rows the shadow got, by outcome; a dropped row was compared with nothing."""

    agreed: int = 0
    differed: int = 0
    failed: int = 0
    dropped: int = 0

    @property
    def judged(self) -> int:
        """Return how many rows count for the verdict; a row that the shadow failed on counts against it."""
        return self.agreed + self.differed + self.failed

    @property
    def agreement(self) -> float | None:
        """Return the share of judged rows with the same answer, from 0 to 1; None without rows."""
        return self.agreed / self.judged if self.judged else None


class Pair(Struct, frozen=True, kw_only=True):
    """How many rows got one answer from the service and a different one from the shadow."""

    answer: str
    shadow_answer: str
    rows: int


class Quantiles(Struct, frozen=True, kw_only=True):
    """The median and the 95th percentile, in the unit of the histogram; None without observations."""

    p50: float | None
    p95: float | None


class Comparison(Struct, frozen=True, kw_only=True):
    """The figures of a shadow.

    `differing` has the pairs of different answers, the most frequent first; empty for regression. `psi` is the maximum
    over the pods. Times are in seconds. `difference` is one of probabilities, or for regression of values, in standard
    deviations of the baseline. `ready` is how many of the `pods` use the shadow.
    """

    rows: Rows
    differing: Sequence[Pair]
    psi: float | None
    difference: Quantiles
    seconds: Quantiles
    shadow_seconds: Quantiles
    ready: int
    pods: int


class Watch(Struct, frozen=True, kw_only=True):
    """The target and shadow to query, and since when they are pinned together."""

    target: Target
    shadow: Shadow
    since: datetime

    def counted(self, metric: str, labels: str = "") -> str:
        """Return a PromQL expression for the increase of a counter since then, with a value for each pod's series.

        Counters of pods that the pin started begin at 0, so their latest value is the whole increase; `increase` would
        miss the first observations. After a restart of the container, the counter begins at 0 again. Series from before
        the pin are left out.
        """
        seconds = max(_SHORTEST, int((datetime.now(UTC) - self.since).total_seconds()))
        series = f"{metric}{{{self._where}{labels}}}"
        over = f"({series}[{seconds}s])"
        return f"(((increase{over} and resets{over} > 0) or max_over_time{over}) unless {series} offset {seconds}s)"

    def shadowed(self, metric: str) -> str:
        """Return the same as `counted`, for a metric of the shadow."""
        return self.counted(metric, self._shadow)

    def now(self, metric: str) -> str:
        """Return an expression for the current value of a gauge of the shadow."""
        return f"{metric}{{{self._where}{self._shadow}}}"

    @property
    def _where(self) -> str:
        # The ServiceMonitor uses the name of the Service as the job.
        return f'namespace="{self.target.namespace}",job="{self.target.release_name}"'

    @property
    def _shadow(self) -> str:
        return f',shadow="{self.shadow.version}"'


def rows_of(prometheus: Prometheus, watch: Watch) -> Rows:
    """Return how many rows a shadow got, by outcome.

    Raises:
        OutageError: Prometheus does not answer.
    """
    found = prometheus.query(f"sum by (outcome) ({watch.shadowed(_ROWS)})")
    counted = {sample.labels.get("outcome", ""): round(sample.value) for sample in found}
    return Rows(**{name: counted.get(name, 0) for name in Rows.__struct_fields__})


def comparison(prometheus: Prometheus, watch: Watch) -> Comparison:
    """Return all figures of a shadow.

    Raises:
        OutageError: Prometheus does not answer.
    """
    ready = prometheus.query(watch.now("serving_shadow_ready"))
    return Comparison(
        rows=rows_of(prometheus, watch),
        differing=_differing(prometheus, watch),
        psi=prometheus.value(f"max({watch.now('serving_shadow_psi')})"),
        difference=_quantiles(prometheus, watch.shadowed(_DIFFERENCE)),
        seconds=_quantiles(prometheus, watch.counted(_SECONDS)),
        shadow_seconds=_quantiles(prometheus, watch.shadowed(_SHADOW_SECONDS)),
        ready=sum(sample.value == 1 for sample in ready),
        pods=len(ready),
    )


def _differing(prometheus: Prometheus, watch: Watch) -> list[Pair]:
    found = prometheus.query(f"sum by (answer, shadow_answer) ({watch.shadowed(_ANSWERS)})")
    pairs = [
        Pair(
            answer=sample.labels.get("answer", ""),
            shadow_answer=sample.labels.get("shadow_answer", ""),
            rows=round(sample.value),
        )
        for sample in found
    ]
    # Rare classes are counted together as `other`, so two different answers may both be `other`.
    differing = [pair for pair in pairs if pair.rows and pair.answer != pair.shadow_answer]
    return sorted(differing, key=lambda pair: (-pair.rows, pair.answer, pair.shadow_answer))


def _quantiles(prometheus: Prometheus, counted: str) -> Quantiles:
    p50, p95 = (prometheus.value(f"histogram_quantile({share}, sum by (le) ({counted}))") for share in (0.5, 0.95))
    return Quantiles(p50=p50, p95=p95)
