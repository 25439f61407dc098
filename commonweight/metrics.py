"""What services tell Prometheus, on registries of their own."""

from prometheus_client import CollectorRegistry, disable_created_metrics


def new_registry() -> CollectorRegistry:
    """An empty registry whose counters are not told a second time, with when they were made."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()
