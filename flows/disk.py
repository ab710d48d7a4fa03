"""The disk that a build needs, before it runs.

Bytes a token are those that builds of real replies and of read text have left, see DECISIONS.md.
"""

from dataclasses import dataclass

import pyarrow.parquet as pq

from data.errors import SourceError
from data.sources import find_files
from filters import CorpusFilter
from filters.near_duplicate import NearDuplicate
from flows.estimates import Estimate
from flows.plan import Plan, ReadSource, Target
from flows.rendering import resolve_output

REPLY_BYTES = 8.4
"""A token of replies: 4.7 in the record, 1.5 in completions, 2.2 in samples."""
PROMPT_BYTES = 1.6
SAMPLE_BYTES = 2.3
"""A token of a read sample."""
TOKEN_BYTES, SHARD_BYTES = 2.3, 2.5
"""A training token, where an id takes two bytes; twice that where it takes four."""
TEXT_BYTES = 4.2
"""Of text, a token."""
PACKED = 4.0
"""Bytes of text that a byte of a compressed file may hold."""
DOCUMENT_TOKENS = 600
"""Tokens of a document where nothing else is known."""
WIDE = 1 << 16


@dataclass(frozen=True)
class Disk:
    """Bytes. `scratch` is needed beside `stays` while duplicates are sought, and given back;
    `unknown` are corpora that do not tell their size."""

    stays: dict[str, int]
    scratch: int
    unknown: tuple[str, ...]

    @property
    def most(self) -> int:
        return sum(self.stays.values()) + self.scratch

    def line(self) -> str:
        whole = sum(self.stays.values())
        shares = ", ".join(f"{name} {shown(size)}" for name, size in self.stays.items() if size)
        text = f"disk: about {shown(whole)}" + (f" ({shares})" if shares else "")
        if self.scratch:
            text += f", and {shown(self.scratch)} more while duplicates are sought"
        if self.unknown:
            text += f"; without {', '.join(self.unknown)}, of unknown size"
        return text


def shown(size: float) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB")):
        if size >= unit:
            return f"{size / unit:,.{0 if size >= 10 * unit else 1}f} {name}"
    return f"{size / 1e3:,.0f} kB"


def disk(plan: Plan, estimates: list[Estimate], outputs: dict[str, int | None]) -> Disk:
    """What stages that are not done will take. `outputs`: training tokens of each."""
    stays = dict.fromkeys(("generation", "samples", "tokens", "shards"), 0.0)
    for one in estimates:
        stays["generation"] += one.completion_tokens * REPLY_BYTES
        stays["generation"] += (one.prompt_tokens or 0) * PROMPT_BYTES
    read = {corpus.name: tokens_to_read(corpus) for corpus in plan.read}
    samples = sum(tokens or 0 for tokens in read.values())
    stays["samples"] = samples * SAMPLE_BYTES
    known = samples + sum(one.tokens for one in estimates)
    for target in plan.targets:
        if not target.shards.done:
            wide = _wide(target)
            tokens = outputs[target.name] or known
            if not target.tokens.done:
                stays["tokens"] += min(tokens, known) * TOKEN_BYTES * wide
            stays["shards"] += tokens * SHARD_BYTES * wide
    documents = sum(one.samples for one in estimates) + samples / DOCUMENT_TOKENS
    corpus_wise = [step for step in plan.steps if not step.verdicts.done]
    scratch = [_sketch_bytes(step.judge) for step in corpus_wise]
    return Disk(
        {name: round(size) for name, size in stays.items()},
        round(documents * max(scratch, default=0)),
        tuple(name for name, tokens in read.items() if tokens is None),
    )


def tokens_to_read(corpus: ReadSource) -> int | None:
    """About how many tokens reading it will store; 0 where it is read already, None where
    neither `expect` nor its files tell."""
    if corpus.samples.done:
        return 0
    expect, limit = corpus.settings.expect, corpus.settings.limit
    if expect.tokens is not None:
        share = min(1.0, limit / expect.rows) if limit and expect.rows else 1.0
        return round(expect.tokens * share)
    return None if corpus.settings.file is None else _tokens_of_files(corpus)


def _tokens_of_files(corpus: ReadSource) -> int | None:
    limit = corpus.settings.limit
    size, rows = 0.0, 0
    try:
        for file in find_files(corpus.settings.file or "")[1]:
            if file.suffix == ".parquet":
                about = pq.read_metadata(file)
                groups = (about.row_group(group) for group in range(about.num_row_groups))
                size += sum(group.total_byte_size for group in groups)
                rows += about.num_rows
            else:
                size += file.stat().st_size * (PACKED if file.suffix in (".gz", ".zst") else 1)
    except (SourceError, OSError, ValueError):
        return None
    share = min(1.0, limit / rows) if limit and rows else 1.0
    return round(size * share / TEXT_BYTES)


def _wide(target: Target) -> int:
    return 1 if resolve_output(target.name, target.settings).tokenizer.vocabulary <= WIDE else 2


def _sketch_bytes(judge: object) -> int:
    """Of a document, while a corpus filter compares all."""
    if isinstance(judge, NearDuplicate):
        return judge.bands * 8 + 32
    return 40 if isinstance(judge, CorpusFilter) else 0
