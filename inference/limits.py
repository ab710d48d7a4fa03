"""How many connections this process may hold."""

import contextlib
import resource

RESERVED = 64
"""Files that the rest of a build has open."""


def allow_connections(wanted: int) -> int:
    """Raise the limit on open files as far as `wanted` connections need and the system allows.
    Gives how many connections fit, at least 1."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + RESERVED
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft - RESERVED))
