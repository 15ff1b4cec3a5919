"""The results of the dashboards' queries on a cluster, and the queries whose metrics the cluster lacks."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from tests.e2e.monitoring.monitoring import WatchingPrometheus
from tests.observability.content import Query
from tests.observability.sources import ELSEWHERE


class Answer(msgspec.Struct, frozen=True):
    """The result of a query: the number of series, the missing metrics, and the sources that the cluster lacks."""

    query: Query
    series: int
    missing: frozenset[str]
    lacks: frozenset[str]

    @property
    def dashboard(self) -> str:
        """Return the query's dashboard."""
        return self.query.place.partition(":")[0]


def lacking(prometheus: WatchingPrometheus) -> frozenset[str]:
    """Return the sources of metrics, as named in `tests.observability.sources`, that do not exist here."""
    present = prometheus.metrics()
    return frozenset(source for source, metrics in ELSEWHERE.items() if not metrics & present)


def answers(prometheus: WatchingPrometheus, queries: Iterable[Query]) -> list[Answer]:
    """Evaluate every query, with everything chosen for the variables. Raise ValueError if one cannot be evaluated."""
    present, absent = prometheus.metrics(), lacking(prometheus)
    found = []
    for query in queries:
        asked = prometheus.metrics_of(query.expr())
        lacks = frozenset(source for source in absent if asked & ELSEWHERE[source])
        series = len(prometheus.query(query.expr()))
        found.append(Answer(query, series, frozenset(asked - present), lacks))
    return found


def table(found: Iterable[Answer]) -> list[tuple[object, ...]]:
    """Count the results by dashboard, for the report."""
    asked, with_series, without, elsewhere = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for answer in found:
        asked[answer.dashboard] += 1
        kind = elsewhere if answer.lacks else with_series if answer.series else without
        kind[answer.dashboard] += 1
    rows = [(name, asked[name], with_series[name], without[name], elsewhere[name]) for name in sorted(asked)]
    return [("dashboard", "queries", "with series", "nothing to show", "source not here"), *rows]
