"""One build at a time in an OUT that lies in a store: an object that says who is writing.

A store has no locks that end with their holder. So the holder writes its object anew every few
seconds, and one that has not been written for a minute, or whose process is known here to be
gone, counts no more.
"""

import contextlib
import json
import os
import platform
import secrets
import time
from typing import Any

from data.errors import OutputError, StoreError
from data.objects import Objects

NAME = "logs/lease.json"
RENEW_SECONDS, LASTS_SECONDS = 15.0, 60.0


class Lease:
    """Held from `take` to `release`. Raises OutputError where another build holds it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._token = secrets.token_hex(8)
        self._written = 0.0
        self.held = False

    def take(self) -> None:
        content = self._content()
        taken = self._objects.put(NAME, content, new=True)
        if not taken:
            self._refuse_live()
            self._objects.put(NAME, content)
            taken = True
        # of two that took it at once, and of stores that know no condition: the last one
        if self._token not in str(self._objects.read(NAME)):
            raise self._taken({})
        self.held, self._written = taken, time.monotonic()

    def renew(self) -> None:
        """Called now and then. Raises OutputError where another build has taken over."""
        if not self.held or time.monotonic() - self._written < RENEW_SECONDS:
            return
        found = self._holder()
        if found is not None and found.get("token") != self._token:
            self.held = False
            raise self._taken(found)
        self._objects.put(NAME, self._content())
        self._written = time.monotonic()

    def release(self) -> None:
        if self.held:
            self.held = False
            with contextlib.suppress(StoreError):  # it ends by itself
                self._objects.remove([NAME])

    def _content(self) -> bytes:
        about = {"token": self._token, "host": platform.node(), "process": os.getpid()}
        return json.dumps(about).encode()

    def _holder(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self._objects.read(NAME) or b"null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    def _refuse_live(self) -> None:
        found, about = self._holder(), self._objects.head(NAME)
        if found is None or about is None:
            return
        seen, _, now = about
        here = found.get("host") == platform.node()
        if now - seen.modified < LASTS_SECONDS and not (here and _is_gone(found.get("process"))):
            raise self._taken(found)

    def _taken(self, holder: dict[str, Any]) -> OutputError:
        who = f"process {holder.get('process', 'unknown')} on {holder.get('host', 'unknown')}"
        return OutputError(
            f"another build is running here ({who})",
            where=str(self._objects.address),
            fix=f"wait for it or choose another --out; one that died counts for "
            f"{LASTS_SECONDS:.0f} s",
        )


def _is_gone(process: Any) -> bool:
    """Whether no process of this machine has the number."""
    if not isinstance(process, int) or process <= 0:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return process == os.getpid()  # one of ours that was not released
