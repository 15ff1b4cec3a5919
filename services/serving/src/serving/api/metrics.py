"""GET /metrics, for Prometheus."""

from litestar import Response, get
from prometheus_client import CONTENT_TYPE_LATEST

from serving.metrics import Metrics


@get("/metrics", sync_to_thread=False, tags=["metrics"], summary="Metrics for Prometheus", media_type="text/plain")
def metrics(measured: Metrics) -> Response[bytes]:
    """Gives all metrics in Prometheus' text format."""
    return Response(measured.text(), headers={"content-type": CONTENT_TYPE_LATEST})
