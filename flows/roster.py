"""Endpoints that come and go: a list outside of the recipe, read again while a build asks.

The list is a file, an URL a line, or a Prefect variable that holds URLs.
"""

import re
from pathlib import Path
from typing import Any

from data.errors import EngineError, RecipeError

VARIABLE = "prefect:"
FILE_SECONDS, VARIABLE_SECONDS = 2.0, 15.0


def pause(place: str) -> float:
    """Seconds between two looks at a list."""
    return VARIABLE_SECONDS if place.startswith(VARIABLE) else FILE_SECONDS


def listed(place: str) -> list[str]:
    """The URLs of a file, or of the variable that `prefect:NAME` names. None is there yet where
    the file is missing. Raises RecipeError for a line that is no URL, EngineError where the list
    cannot be read."""
    if place.startswith(VARIABLE):
        text, words = _variable(place.removeprefix(VARIABLE)), re.compile(r"[\s,]+")
        found = [(place, word) for word in words.split(text) if word]
    else:
        try:
            lines = Path(place).expanduser().read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise EngineError(f"cannot be read ({error})", where=place) from error
        bare = ((n, line.partition("#")[0].strip()) for n, line in enumerate(lines, 1))
        found = [(f"{place}:{number}", line) for number, line in bare if line]
    for where, url in found:
        if not re.fullmatch(r"https?://\S+", url):
            raise RecipeError(f"{url!r} is no URL", where=where, fix="such as http://box-1:8000/v1")
    return list(dict.fromkeys(url.rstrip("/") for _, url in found))


def _variable(name: str) -> str:
    from httpx import HTTPError
    from prefect.exceptions import PrefectException
    from prefect.variables import Variable

    try:
        value: Any = Variable.get(name)
    except (HTTPError, PrefectException, RuntimeError) as error:
        where = f"the Prefect variable {name!r}"
        raise EngineError(f"cannot be read ({error})", where=where) from error
    if value is None:
        raise EngineError(
            f"there is no Prefect variable {name!r}",
            where="engine.endpoints_from",
            fix=f"`prefect variable set {name} http://box-1:8000/v1` on the server that "
            "PREFECT_API_URL names",
        )
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
