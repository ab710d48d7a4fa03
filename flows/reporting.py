"""`shardmill report`: the page of a build, from what lies in its folder."""

import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from data.store import open_path
from flows.console import make_console
from flows.page import write_page

screen = make_console()


def report(
    out: Path, /, *, open_: Annotated[bool, Parameter(name="--open", negative=())] = False
) -> None:
    """Write OUT/report/index.html: the build as one page to look at, in any browser.

    Example: shardmill report runs/demo --open

    Parameters
    ----------
    out
        A finished build's folder.
    open_
        Show it in the browser.
    """
    page = write_page(open_path(out)).resolve().as_uri()
    screen.print(f"report: {page}", markup=False)
    if open_ and not webbrowser.open(page):
        screen.print("no browser was found here: open that address in one", markup=False)
