"""A clock that moves when it is told to."""


class Hands:
    """Seconds, as a monotonic clock gives them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.now += seconds
