"""Unexpected errors: the caller gets an error id, the log gets the details."""

import traceback
from uuid import uuid4

import structlog

from gateway.masking.mask import Mask

log = structlog.get_logger(__name__)


def log_unexpected_error(bug: BaseException, mask: Mask | None = None) -> str:
    """Log an unexpected error, and return its error id.

    Locals are not logged: they may hold secrets. The error's text is masked, and left out where there is no mask.
    """
    error_id = uuid4().hex
    log.error(
        "gateway error",
        error_id=error_id,
        error=mask.text(str(bug)) if mask else "",
        error_type=type(bug).__name__,
        traceback=[
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(bug.__traceback__)
        ],
    )
    return error_id
