"""Which hub sets a plan reads, and whether the hub gives them."""

from concurrent.futures import ThreadPoolExecutor

from data.hub import quiet, switched_off
from filters.decontaminate import Decontaminate
from flows.corpus_recipe import Reading
from flows.plan import Plan

PATIENCE = 5.0
"""Seconds for one answer of the hub."""


def hub_sets(plan: Plan) -> list[str]:
    """Ids in the order of the recipe; local folders that are laid out as hub sets are left out."""
    readings: list[Reading] = [source.settings.seeds for source in plan.generated]
    readings += [source.settings for source in plan.read]
    names = [one.hub for one in readings if one.hub is not None and one.far]
    for step in plan.steps:
        if isinstance(step.judge, Decontaminate):
            names += [one.hub for one in step.judge.benchmarks if one.hub and not one.file]
    return list(dict.fromkeys(names))


def reachable(plan: Plan) -> dict[str, str]:
    """Each hub set and `reachable`, or why not. Asks for what the set is, not for its data."""
    names = hub_sets(plan)
    if not names:
        return {}
    if switched_off():
        return dict.fromkeys(names, "not asked: the hub is switched off in the environment")
    with ThreadPoolExecutor(8) as threads:
        return dict(zip(names, threads.map(_ask, names), strict=True))


def _ask(name: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    quiet()
    try:
        found = HfApi().dataset_info(name, timeout=PATIENCE)
    except GatedRepoError:
        return "gated: accept its terms on the hub, then set HF_TOKEN"
    except RepositoryNotFoundError:
        return "does not exist or is private"
    except Exception as error:  # noqa: BLE001 - whatever the network raises is the answer
        return f"out of reach ({type(error).__name__})"
    return "gated: accept its terms on the hub, then set HF_TOKEN" if found.gated else "reachable"
