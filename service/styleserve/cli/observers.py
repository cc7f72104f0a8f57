"""Who observes the server, as the configuration asks; the libraries that it takes are loaded then and not before."""

import contextlib
import logging
from collections.abc import Iterator

from styleserve.config import Config
from styleserve.errors import ConfigurationError
from styleserve.observing.observer import Observer, Observers

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def observed(config: Config) -> Iterator[Observer]:
    """An observer for one server; what it has yet to send is sent at the end. Raises ConfigurationError."""
    with contextlib.ExitStack() as stack:
        wanted: list[Observer] = []
        if config.traces is not None:
            wanted.append(stack.enter_context(_traces(config.traces)))
        if config.metrics is not None:
            wanted.append(stack.enter_context(_metrics(config.metrics)))
        yield Observers(wanted)


@contextlib.contextmanager
def _metrics(address: str) -> Iterator[Observer]:
    from styleserve.observing.metrics import Metrics

    metrics = Metrics()
    with metrics.served(address) as bound:
        logger.info("metrics at http://%s/metrics", bound)
        yield metrics


@contextlib.contextmanager
def _traces(endpoint: str) -> Iterator[Observer]:
    try:
        from styleserve.observing.traces import Traces, exporter_to
    except ImportError as error:
        raise ConfigurationError(
            f"traces: they need a package that cannot be imported ({error}); in a clone: pip install "
            "'.[cpu,traces]', or '.[gpu,traces]'"
        ) from None
    with contextlib.closing(Traces(exporter_to(endpoint))) as traces:
        yield traces
