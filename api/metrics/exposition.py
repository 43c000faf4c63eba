"""The catalogue as Prometheus' text, format 0.0.4, with what the system knows of the process."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from api.metrics.catalogue import METRICS, Kind, Metric, Moment, Sources
from broker.measures import measure

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4


async def exposition(sources: Sources) -> bytes:
    """All metrics as they stand. Raises what reading the log raises."""
    return generate_latest(await _registry(sources))


async def samples(sources: Sources) -> dict[str, float]:
    """The same without help and kinds: numbers by name, labels included as in the text; without the
    lag of the loop where that is not measured."""
    return {
        f"{sample.name}{_labels(sample.labels)}": float(sample.value)
        for family in (await _registry(sources)).collect()
        for sample in family.samples
        if family.type != Kind.HISTOGRAM or sources.loop_lag.samples
    }


def _labels(labels: dict[str, str]) -> str:
    listed = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return f"{{{listed}}}" if listed else ""


async def _registry(sources: Sources) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(
        _Catalogue(Moment(sources, await measure(sources.broker.log, sources.broker.epoch.hub)))
    )
    ProcessCollector(registry=registry)
    return registry


class _Catalogue(Collector):
    def __init__(self, now: Moment) -> None:
        self._now = now

    def describe(self) -> Iterator[Family]:
        """Nothing: registering would otherwise read all of it once more."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        for metric in METRICS:
            yield _FAMILIES[metric.kind](metric, self._now)


def _counter(metric: Metric, now: Moment) -> Family:
    family = CounterMetricFamily(metric.name, metric.help, labels=metric.labels)
    for values, value in metric.read(now):
        family.add_metric(values, value)
    return family


def _gauge(metric: Metric, now: Moment) -> Family:
    family = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
    for values, value in metric.read(now):
        family.add_metric(values, value)
    return family


def _histogram(metric: Metric, now: Moment) -> Family:
    lag = metric.read(now)
    return HistogramMetricFamily(
        metric.name, metric.help, buckets=lag.buckets, sum_value=lag.total_s
    )


_FAMILIES = {Kind.COUNTER: _counter, Kind.GAUGE: _gauge, Kind.HISTOGRAM: _histogram}
