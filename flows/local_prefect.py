"""A Prefect server for one build, where none is configured.

Prefect would start one by itself, but leave it behind when the build is killed and print its
shutdown on the terminal. Ours is guarded, logs to OUT/logs, and starts while the recipe loads.
"""

import sys
from pathlib import Path

from inference.server import Server, free_port

ENVIRONMENT = {
    "PREFECT_UI_ENABLED": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


def local_prefect(out: Path) -> tuple[Server, str]:
    """The server, not started, and the API's address; its history is in PREFECT_HOME."""
    port = free_port()
    command = [sys.executable, "-m", "prefect", "server", "start"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    url = f"http://127.0.0.1:{port}/api"
    server = Server(
        "Prefect's server",
        command,
        f"{url}/health",
        out / "logs" / "prefect.log",
        patience=180,
        environment=ENVIRONMENT,
    )
    return server, url
