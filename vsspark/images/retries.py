"""Requests that are made again while a store's trouble may pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from vsspark.config import ImagesConfig

_Answer = TypeVar("_Answer")
_backoff = wait_random_exponential(multiplier=0.2, max=10)


class TransientError(Exception):
    """A failure that a retry may overcome: throttled, reset, timed out, cut short."""

    def __init__(self, said: str, wait_s: float = 0.0):
        super().__init__(said)
        self.wait_s = wait_s  # seconds that the store asks for before the next request


def retry(request: Callable[..., _Answer], config: ImagesConfig, *values: object) -> _Answer:
    """What the request returns, made up to config.attempts times while the store's trouble may pass; raises the last
    TransientError.
    """
    retrying = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(config.attempts),
        wait=_wait,
        reraise=True,
    )
    return retrying(request, *values)


def _wait(state: RetryCallState) -> float:
    """Seconds until the next request: exponential, and no sooner than the store has asked for."""
    error = state.outcome.exception() if state.outcome is not None else None
    return max(_backoff(state), error.wait_s if isinstance(error, TransientError) else 0.0)
