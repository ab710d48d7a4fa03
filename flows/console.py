"""The terminal as every command writes to it."""

from rich.console import Console

WIDE = 160


def make_console(*, stderr: bool = False) -> Console:
    """Lines are not wrapped, and nothing in a text is taken for an emoji or a number."""
    console = Console(emoji=False, highlight=False, soft_wrap=True, stderr=stderr)
    if not console.is_terminal:
        console.width = WIDE  # tables in a log or a pipe are not to be squeezed
    return console
