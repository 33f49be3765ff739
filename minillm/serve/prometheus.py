"""Metrics of a sampler as Prometheus reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric as MetricFamily
from prometheus_client.registry import Collector

from minillm.engine.metrics import Counter, Gauge, Histogram, Metric

CONTENT_TYPE = CONTENT_TYPE_LATEST
Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily
FAMILIES: dict[type[Metric], type[Family]] = {
    Counter: CounterMetricFamily,
    Gauge: GaugeMetricFamily,
    Histogram: HistogramMetricFamily,
}


def exposition(metrics: Sequence[Metric], model_name: str) -> bytes:
    """Write metrics in Prometheus' text format, labelled with the model's name."""
    registry = CollectorRegistry()
    registry.register(_Families(metrics, model_name))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, metrics: Sequence[Metric], model_name: str) -> None:
        self._metrics, self._model_name = metrics, model_name

    def collect(self) -> Iterable[MetricFamily]:
        families: dict[str, Family] = {}
        for metric in self._metrics:
            labels = ["model_name", *metric.labels]
            kind = FAMILIES[type(metric)]
            family = families.setdefault(metric.name, kind(metric.name, "as in vLLM", labels=labels))
            values = [self._model_name, *metric.labels.values()]
            if isinstance(metric, Histogram):
                family.add_metric(values, [*metric.buckets.items()], metric.sum)  # type: ignore[arg-type]
            elif isinstance(metric, Counter | Gauge):
                family.add_metric(values, metric.value)  # type: ignore[arg-type, call-arg]
        return families.values()
