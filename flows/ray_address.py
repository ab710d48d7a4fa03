"""Which Ray cluster is meant, and whether it is there; looked at before anything is started."""

import os
import socket
from importlib.util import find_spec
from urllib.parse import urlsplit

from data.errors import EngineError, RecipeError

LOCAL = "local"
"""Ray's word for a cluster of this machine alone that ends with the run."""
PATIENCE = 10.0
"""Seconds for an address to answer: Ray itself tries for minutes."""


def find_cluster(address: str | None) -> str:
    """The address, that of RAY_ADDRESS, or LOCAL. Raises RecipeError without the extra and
    EngineError where nothing answers."""
    if find_spec("ray") is None or find_spec("prefect_ray") is None:
        raise RecipeError("the runner ray needs Ray", fix="pip install 'shardmill[ray]'")
    found = address or os.environ.get("RAY_ADDRESS") or LOCAL
    if found not in (LOCAL, "auto"):
        _reach(found)
    return found


def _reach(address: str) -> None:
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port
        if not host or not port:
            raise ValueError("it is not of the form HOST:PORT or ray://HOST:PORT")
        with socket.create_connection((host, port), timeout=PATIENCE):
            pass
    except (OSError, ValueError) as error:
        raise EngineError(
            f"no Ray cluster answers ({error})",
            where=address,
            fix="start one with `ray start --head --port 6379`, or give another address",
        ) from error
