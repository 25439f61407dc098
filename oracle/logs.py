"""The loggers of the service's parts. Keys and passwords are never logged."""

from typing import cast

import structlog
from structlog.typing import FilteringBoundLogger


def logger(part: str) -> FilteringBoundLogger:
    """The logger of one part of the service; `part` is a field of each line."""
    return cast(FilteringBoundLogger, structlog.get_logger(part=part))
