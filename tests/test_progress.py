"""What a build shows while it works, on a terminal of fixed width and in a log."""

import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from flows.generation_view import GenerationView, Live, Share, Shares
from flows.progress import Progress
from flows.stages import Work, run_parts


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def shown(view: GenerationView, width: int = 100, height: int = 40) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None)
    with console.capture() as capture:
        console.print(view)
    return [line.rstrip() for line in capture.get().splitlines()]


def two_sources() -> Shares:
    return Shares(books=Share("textbook", 40, 10), sums=Share("math", 20))


def test_each_source_has_a_row_and_the_line_tells_rates_yield_and_eta() -> None:
    clock = Clock()
    live = Live(lambda: 7, lambda: 3, lambda: "1 of 2 endpoints away: x: 503: full")
    view = GenerationView(two_sources(), live, clock)
    for second in range(20):  # 10 tokens/s, then 40
        clock.seconds += 1
        view.arrived("books", 10 if second < 10 else 40, accepted=second % 4 != 0)
        view.tick()
    header, books, sums, *rest = shown(view)
    assert header.split() == ["source", "kind", "done", "yield", "tokens", "tokens", "each"]
    assert books.split()[:2] == ["books", "textbook"]
    assert books.split()[-4:] == ["30/40", "75%", "500", "25"]
    assert sums.split()[-4:] == ["0/20", "?", "0", "?"]
    line = " ".join(rest)
    assert "generate 30/60 (50%)" in line
    assert "40 tokens/s (mean 25)" in line
    assert "in flight 7  retries 3  yield 75%  ETA 0:30" in line
    assert line.endswith("503: full")


@pytest.mark.parametrize("width", [40, 60, 90, 200])
def test_no_row_is_wider_than_the_terminal(width: int) -> None:
    shares = Shares({f"source-of-a-long-name-{n}": Share("textbook_unit", 10**7) for n in range(4)})
    lines = shown(GenerationView(shares, Live(), Clock()), width)
    assert all(len(line) <= width for line in lines)


def test_what_is_done_is_hidden_first_where_the_terminal_is_low() -> None:
    shares = Shares({f"s{n:02d}": Share("math", 4) for n in range(30)})
    view = GenerationView(shares, Live(), Clock())
    for name in ("s00", "s01", "s02"):
        for _ in range(4):
            view.arrived(name, 5, accepted=True)
    view.arrived("s20", 5, accepted=True)
    lines = shown(view, height=14)
    assert len(lines) <= 14
    names = [line.split()[0] for line in lines[1:-2]]
    assert names == ["s03", "s04", "s05", "s06", "s07", "s08", "s09", "s20"]
    assert lines[-2] == "and 22 more sources, 3 of them done"


def test_a_terminal_shows_the_table_and_a_log_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.progress.SELDOM", 0.0)
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100, height=30)
    lines: list[str] = []
    told: list[tuple[str, float]] = []
    for progress in (
        Progress(console),
        Progress(log=lines.append, sink=lambda stage, share, _: told.append((stage, share))),
    ):
        progress.start(two_sources(), Live())
        for source, count in (("books", 30), ("sums", 20)):
            for _ in range(count):
                progress.arrived(source, 5, accepted=True)
        progress.tick()
        progress.stop()
    assert "textbook" in screen.getvalue()
    assert lines[0].startswith("generate 60/60 (100%)")
    assert told[0] == ("generate", 1.0)


def test_parts_of_other_stages_are_counted_and_the_stage_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.progress.SELDOM", 0.0)
    lines: list[str] = []
    told: list[tuple[str, float]] = []
    progress = Progress(
        log=lines.append, sink=lambda stage, share, line: told.append((stage, share))
    )
    made: list[int] = []
    run = progress.watching(run_parts)
    run("tokens.pretrain", made.append, [0, 3, 4, 5])
    run("tokens.chat", made.append, [])
    assert made == [0, 3, 4, 5]
    assert [line.partition("  ETA")[0] for line in lines[:-1]] == [
        f"tokens.pretrain {n}/4 parts ({n / 4:.0%})" for n in (1, 2, 3)
    ]
    assert lines[-1].startswith("tokens.pretrain: 4 parts in 0.0 s")
    assert told[-1] == ("tokens.pretrain", 1.0)
    assert len(told) == 4


def test_a_stage_of_one_part_tells_how_far_that_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.progress.SELDOM", 0.0)
    lines: list[str] = []
    progress = Progress(log=lines.append)

    def write(index: int) -> None:
        for done in (1, 2, 3):
            progress.within(done, 3)

    progress.watching(run_parts)("shards.pretrain", write, [0])
    assert [line.partition(" parts")[0] for line in lines] == [
        "shards.pretrain 1/3", "shards.pretrain 2/3", "shards.pretrain: 3"
    ]  # fmt: skip
    progress.within(1, 2)  # outside of a stage
    assert len(lines) == 3


def test_short_stages_are_quiet_on_a_terminal_and_errors_pass() -> None:
    screen = io.StringIO()
    progress = Progress(Console(file=screen, width=100))

    def failing(name: str, work: Work, indices: Sequence[int]) -> None:
        raise OSError("no space")

    progress.watching(run_parts)("prompts.books", lambda index: None, [0, 1])
    assert not screen.getvalue()
    with pytest.raises(OSError, match="no space"):
        progress.watching(failing)("prompts.books", lambda index: None, [0, 1])
