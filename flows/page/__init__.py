"""`OUT/report/index.html`: a build for people who would rather look than read."""

import hashlib
from pathlib import Path

from data.parts import write_file
from data.schema import fingerprint
from flows.page.facts import gather
from flows.page.render import render
from flows.page.stored import Stored

FOLDER = Path(__file__).parent


def write_page(out: Path) -> Path:
    """Write the page from what lies in OUT and give its path; one that is up to date stays.

    Raises SourceError where OUT holds no finished build, DamagedPart where a part is unreadable.
    """
    path = out / "report" / "index.html"
    build = Stored(out)
    key = fingerprint([build.version, _code()], 32)
    mark = f'<meta name="shardmill-build" content="{key}">'
    if not (path.is_file() and mark.encode() in path.read_bytes()[:2000]):
        write_file(path, render(gather(build), mark).encode())
    return path


def _code() -> list[str]:
    files = sorted(path for path in FOLDER.iterdir() if path.is_file())
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
