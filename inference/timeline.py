"""How fast completions arrived, coarse enough to be kept for ever."""

STEPS = 240
"""Steps kept at most: beyond it, neighbours are joined and a step is twice as long."""


class Timeline:
    """Requests and completion tokens in steps of equal length."""

    def __init__(self) -> None:
        self.seconds = 1.0
        """Length of a step."""
        self.steps: list[tuple[int, int]] = []
        """Requests and tokens of each."""

    def add(self, second: float, tokens: int) -> None:
        """One completion, `second` seconds after the start."""
        while second >= STEPS * self.seconds:
            even = [*self.steps, (0, 0)] if len(self.steps) % 2 else self.steps
            pairs = zip(even[::2], even[1::2], strict=True)
            self.steps = [(a + c, b + d) for (a, b), (c, d) in pairs]
            self.seconds *= 2
        at = max(0, int(second / self.seconds))
        self.steps += [(0, 0)] * (at + 1 - len(self.steps))
        requests, before = self.steps[at]
        self.steps[at] = (requests + 1, before + tokens)
