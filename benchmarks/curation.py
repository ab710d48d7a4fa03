"""Curation side by side with datatrove and rensa: ratios of one run.

    python benchmarks/curation.py [--text FILE] [--documents 100000] [--peers 5000]
    python benchmarks/curation.py --only near --peers 0 --documents 1000000 --longest 140

The corpus is made of recombined words of a text (of the shipped seeds if none is given): 10 %
near-duplicates with 2 to 15 % of their words replaced, 2 % exact ones. Peers run on the first
`--peers` documents, where they are linear, rensa on all; `--peers 0` leaves them out. Every
measurement is a process of its own: wall and CPU seconds and the peak of its memory, reading and
compilation included where "whole" says so.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "runs" / "bench-peers"
sys.path.insert(0, str(ROOT))


def run(python: str | Path, script: str, *args: object) -> dict[str, Any]:
    """A function of benchmarks/curation_jobs.py in its own process: its figures and its cost."""
    command = [str(python), str(ROOT / "benchmarks" / "curation_jobs.py"), script, *map(str, args)]
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL, cwd=ROOT)
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
        out.seek(0)
        lines = out.read().splitlines()
    if status:
        sys.exit(f"{script} failed; run it by hand: {' '.join(command)}")
    cpu = used.ru_utime + used.ru_stime
    found: dict[str, Any] = json.loads(lines[-1])
    return {**found, "wall": wall, "cpu": cpu, "mb": used.ru_maxrss / 1024}


def peer_environment() -> Path:
    """rensa in an environment of its own."""
    python = PEERS / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(PEERS)], check=True)
        install = ["-m", "pip", "-q", "install", "rensa", "pyarrow"]
        subprocess.run([str(python), *install], check=True)
    return python


def show(name: str, found: dict[str, Any]) -> None:
    known = ("recall", "precision", "per_second", "verbatim", "edited", "clean", "rows")
    extra = ", ".join(f"{k} {found[k]:.4g}" for k in known if k in found)
    print(
        f"{name:44} wall {found['wall']:8.1f} s  CPU {found['cpu']:8.1f} s"
        f"  peak {found['mb']:6.0f} MB  {extra}",
        flush=True,
    )


def ratio(name: str, value: float, bar: float) -> None:
    print(f"  {name}: {value:.1f} (at least {bar:g}) {'ok' if value >= bar else 'MISSED'}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--text", type=Path)
    options.add_argument("--documents", type=int, default=100_000)
    options.add_argument("--peers", type=int, default=5_000)
    options.add_argument("--longest", type=int, default=700, help="words of a document")
    options.add_argument("--only", nargs="*", default=["near", "quality", "decontaminate", "stage"])
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        documents = run(
            sys.executable, "make", folder, given.text or "", given.documents, given.longest
        )
        run(sys.executable, "samples", folder, given.documents)
        print(f"{given.documents:,} documents, {documents['bytes'] / 1e6:.0f} MB")
        for part in given.only:
            globals()[f"measure_{part}"](folder, given.documents, given.peers)


def measure_near(folder: Path, documents: int, peers: int) -> None:
    ours = run(sys.executable, "stage", folder, "fineweb")
    show("near-duplicates 14 x 8", ours)
    again = run(sys.executable, "stage", folder, "default")
    show("near-duplicates 32 x 4, checked", again)
    kernel = run(sys.executable, "near_kernel", folder, documents)
    show("its sketch alone", kernel)
    if peers:
        theirs = run(peer_environment(), "rensa", folder, documents)
        show("rensa 14 x 8", theirs)
        slow = run(sys.executable, "datatrove_minhash", folder, peers, folder / "minhash")
        show(f"datatrove 14 x 8, {peers:,} documents", slow)
        ratio("CPU, datatrove / ours", slow["cpu"] * documents / peers / ours["cpu"], 50)
        ratio("wall, rensa / ours", theirs["wall"] / ours["wall"], 3)
    ratio("1500 MB / peak", 1500 / max(ours["mb"], again["mb"]), 1)
    found = {
        name: run(sys.executable, "near_quality", folder, documents, name)
        for name in ("fineweb", "default")
    }
    print(f"  recall of all made pairs, 14 x 8: {found['fineweb']['made_recall']:.3f}")
    ratio("recall of pairs alike by half, 32 x 4, x 100", 100 * found["default"]["recall"], 97)
    ratio("precision, x 100", 100 * found["default"]["precision"], 99)
    ratio("sketch, thousand documents/s a core", kernel["per_second"] / 1000, 100)


def measure_quality(folder: Path, documents: int, peers: int) -> None:
    ours = run(sys.executable, "quality", folder, documents)
    show("gopher + repetition + fineweb", ours)
    if not peers:
        return
    slow = run(sys.executable, "datatrove_quality", folder, min(peers, 2000))
    show(f"datatrove, {min(peers, 2000):,} documents", slow)
    ratio("documents/s, ours / datatrove", ours["per_second"] / slow["per_second"], 100)
    for rule, share in run(sys.executable, "agreement", 2000)["rules"].items():
        ratio(f"equal verdicts, {rule}, x 100", 100 * share, 99.5)


def measure_decontaminate(folder: Path, documents: int, peers: int) -> None:
    ours = run(sys.executable, "decontaminate", folder, documents)
    show("decontaminate", ours)
    if peers:
        slow = run(sys.executable, "datatrove_decontaminate", folder, min(peers, 2000))
        show(f"datatrove, {min(peers, 2000):,} documents", slow)
        ratio("documents/s, ours / datatrove", ours["per_second"] / slow["per_second"], 500)
    ratio("verbatim items found, x 100", 100 * ours["verbatim"], 100)
    ratio("5 %-edited items found, x 100", 100 * ours["edited"], 99)
    ratio("clean documents kept, x 100", 100 * (1 - ours["clean"]), 99.95)


def measure_stage(folder: Path, documents: int, peers: int) -> None:
    ours = run(sys.executable, "stage", folder, "whole")
    show("exact, near, quality, decontaminate: whole", ours)
    ratio("1500 MB / peak", 1500 / ours["mb"], 1)
    if not peers:
        return
    few = min(peers, 2000)
    parts = {
        "minhash": run(sys.executable, "datatrove_minhash", folder, peers, folder / "again"),
        "quality": run(sys.executable, "datatrove_quality", folder, few),
        "decontaminate": run(sys.executable, "datatrove_decontaminate", folder, few),
    }
    theirs = parts["minhash"]["cpu"] * documents / peers
    theirs += sum(documents / parts[name]["per_second"] for name in ("quality", "decontaminate"))
    print(f"datatrove's same steps, summed: {theirs:.0f} CPU s for {documents:,}")
    ratio("CPU, datatrove / ours", theirs / ours["cpu"], 100)


if __name__ == "__main__":
    main()
