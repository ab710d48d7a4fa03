"""Compile kernels with numba once and keep the machine code on disk.

numba keeps it beside the source, in the user's cache folder where that cannot be written, and
here in memory only where neither can. It looks at a kernel's own file to tell whether the code
is stale; the stamp set here covers the files that it imports from this package too.
"""

import functools
import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

HERE = Path(__file__).parent


def kernel(function: Callable[..., Any]) -> Any:
    """`numba.njit` without the GIL; compiled at the first call, from then on loaded."""
    try:
        made = numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder for the cache can be written
        return numba.njit(nogil=True)(function)
    file = getattr(getattr(made, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = source_of(Path(function.__code__.co_filename).stem)
    return made


@functools.cache
def source_of(module: str) -> str:
    """sha256 of a module of this package and of all that it imports of the package."""
    sources: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in sources:
            sources[name] = (HERE / f"{name}.py").read_text(encoding="utf-8")
            # also what a program in a string imports: the sandbox starts one
            waiting += re.findall(r"^\s*from filters\.(\w+) import", sources[name], re.MULTILINE)
    whole = "\0".join(sources[name] for name in sorted(sources))
    return hashlib.sha256(whole.encode()).hexdigest()
