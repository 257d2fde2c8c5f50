"""A bug of ours, or of an adapter's: an id for whoever is told, and the rest for the log."""

import traceback
from uuid import uuid4

import structlog

from gateway.masking.mask import Mask

log = structlog.get_logger(__name__)


def log_unexpected_error(bug: BaseException, mask: Mask | None = None) -> str:
    """Log a bug under an id, and answer the id. Without locals, and its message masked: both may quote a message.

    Where there is no mask the message is left out.
    """
    error_id = uuid4().hex
    log.error(
        "gateway error",
        error_id=error_id,
        error=type(bug).__name__,
        message=mask.text(str(bug)) if mask else "",
        where=[f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(bug.__traceback__)],
    )
    return error_id
