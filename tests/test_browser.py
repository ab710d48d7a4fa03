"""The report in a real browser: headless Chromium, without a network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, sync_playwright
from playwright.sync_api import Page as Tab

from flows.page import write_page
from flows.plan import Plan
from tests.test_page import plan  # noqa: F401 - the build that both look at

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def report(plan: Plan) -> Path:  # noqa: F811
    return write_page(plan.out)


@pytest.fixture(scope="module")
def browser(report: Path) -> Iterator[Browser]:
    """Started after the build: the driver's event loop leaves no room for another in the thread."""
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield started
        started.close()


class Look:
    """The report in a tab, and all that it asked for or complained of."""

    def __init__(self, browser: Browser, path: Path, **settings: Any) -> None:
        self.asked: list[str] = []
        self.said: list[str] = []
        self.tab: Tab = browser.new_context(**settings).new_page()
        self.tab.on("request", lambda request: self.asked.append(request.url))
        self.tab.on("console", lambda line: self.said.append(line.text))
        self.tab.on("pageerror", lambda error: self.said.append(str(error)))
        self.tab.on("dialog", self._dismiss)
        self.tab.goto(path.as_uri())

    def _dismiss(self, box: Dialog) -> None:
        self.said.append(box.message)
        box.dismiss()

    def shown(self) -> int:
        return self.tab.locator("#examples article:not([hidden])").count()


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1100), ("dark", 1100), ("light", 360), ("dark", 360)]
)
def test_it_loads_in_silence_and_asks_for_nothing(
    browser: Browser, report: Path, scheme: str, width: int
) -> None:
    size = {"width": width, "height": 800}
    look = Look(browser, report, color_scheme=scheme, viewport=size)
    for closed in look.tab.locator("details").all():
        closed.evaluate("e => { e.open = true }")
    assert look.tab.title() == "small: a shardmill build"  # no hostile text ran
    assert look.asked == [report.as_uri()]
    assert look.said == []
    assert look.tab.evaluate("document.documentElement.scrollWidth") <= width
    tall = look.tab.locator("main figure > svg:visible").first.bounding_box()
    assert tall is not None
    assert tall["width"] > 250
    look.tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(browser: Browser, report: Path, scheme: str) -> None:
    """WCAG AA: a contrast of 4.5 for text, of 3 for what pictures are drawn with."""
    look = Look(browser, report, color_scheme=scheme)
    for name, ground, least in [
        ("ink", "page", 4.5),
        ("muted", "page", 4.5),
        ("muted", "card", 4.5),
        ("link", "page", 4.5),
        ("warn", "warn-page", 4.5),
        ("fine", "fine-page", 4.5),
        ("focus", "page", 3),
        *((f"s{n}", "page", 3) for n in range(1, 9)),
    ]:
        assert look.tab.evaluate(CONTRAST, [name, ground]) >= least, (name, ground)
    look.tab.context.close()


CONTRAST = """([front, ground]) => {
  const style = getComputedStyle(document.documentElement);
  const light = (name) => {
    const hex = style.getPropertyValue(`--${name}`).trim().slice(1);
    const [r, g, b] = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const [a, b] = [light(front), light(ground)];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""


def test_the_keyboard_reaches_the_search_which_narrows_the_examples(
    browser: Browser, report: Path
) -> None:
    look = Look(browser, report, viewport={"width": 900, "height": 800})
    whole = look.shown()
    assert whole > 10
    for _ in range(40):
        look.tab.keyboard.press("Tab")
        focused = look.tab.evaluate("document.activeElement.id")
        assert look.tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if focused == "find":
            break
    assert focused == "find"
    look.tab.keyboard.type("Too SHORT")
    some = look.shown()
    assert 0 < some < whole
    assert look.tab.locator("#found").text_content() == f"{some} of {whole} examples"
    for text in look.tab.locator("#examples article:visible").all_text_contents():
        assert "too short" in text.lower()
    look.tab.locator("#find").fill("no text has this in it")
    assert look.shown() == 0
    look.tab.locator("#find").fill("")
    assert look.shown() == whole
    look.tab.locator("#filter").select_option(label="exact_duplicate")
    reasons = look.tab.locator("#examples details:visible").all()
    assert [reason.get_attribute("data-filter") for reason in reasons] == ["3 exact_duplicate"]
    look.tab.context.close()


def test_a_hostile_page_of_another_hand_could_run_nothing(
    browser: Browser, report: Path, tmp_path: Path
) -> None:
    """The policy holds even where escaping would fail: what is smuggled in stays dead."""
    smuggled = (
        "<script>document.title = 'owned'</script><img src='https://example.invalid/x.png' "
        "onerror='document.title = 1'><style>body { display: none }</style>"
    )
    path = tmp_path / "index.html"
    path.write_text(report.read_text().replace("<main>", f"<main>{smuggled}"))
    look = Look(browser, path)
    assert look.tab.title() == "small: a shardmill build"
    assert look.tab.evaluate("getComputedStyle(document.body).display") == "block"
    assert all("Content Security Policy" in line for line in look.said)
    assert len(look.said) >= 3
    look.tab.context.close()
