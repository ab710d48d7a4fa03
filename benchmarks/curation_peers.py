"""What benchmarks/curation.py measures of peers, a function a process, in their environments."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def parts(folder: str, documents: str) -> Iterator[Any]:
    """The corpus's parts up to `documents` rows, as Arrow tables."""
    import pyarrow.parquet as pq

    left = int(documents)
    for path in sorted(Path(folder).glob("corpus-*.parquet")):
        if left <= 0:
            return
        table = pq.read_table(path).slice(0, left)
        left -= table.num_rows
        yield table


def texts_of(folder: str, documents: str) -> list[str]:
    return [text for table in parts(folder, documents) for text in table["text"].to_pylist()]


def datatrove_quality(folder: str, documents: str) -> dict[str, float]:
    from datatrove.data import Document
    from datatrove.pipeline import filters

    judges = [
        filters.GopherQualityFilter(),
        filters.GopherRepetitionFilter(),
        filters.FineWebQualityFilter(),
    ]
    texts = texts_of(folder, documents)
    judges[0].filter(Document(text=texts[0], id="0"))
    start = time.process_time()
    for text in texts:
        for judge in judges:
            judge.filter(Document(text=text, id="0"))
    return {"per_second": len(texts) / (time.process_time() - start)}


def datatrove_minhash(folder: str, documents: str, out: str) -> dict[str, float]:
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig

    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    texts = texts_of(folder, documents)

    def read() -> Iterator[Any]:
        return (Document(text=text, id=str(n)) for n, text in enumerate(texts))

    MinhashDedupSignature(f"{out}/signatures", config).run(read(), 0, 1)
    for bucket in range(14):
        MinhashDedupBuckets(f"{out}/signatures", f"{out}/buckets", config=config).run(
            None, bucket, 14
        )
    MinhashDedupCluster(f"{out}/buckets", f"{out}/remove", config).run(None, 0, 1)
    kept = sum(1 for _ in MinhashDedupFilter(f"{out}/remove").run(read(), 0, 1))
    return {"rows": kept}


def rensa(folder: str, documents: str) -> dict[str, float]:
    """Its full sketches (not those of sampled tokens) by the calls for whole batches."""
    from rensa import RMinHash, RMinHashLSH

    lsh = RMinHashLSH(threshold=0.7, num_perm=112, num_bands=14)
    first, dropped = 0, 0
    for table in parts(folder, documents):
        sets = []
        for text in table["text"].to_pylist():
            words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
            sets.append([" ".join(words[n : n + 5]) for n in range(len(words) - 4)])
        matrix = RMinHash.digest_matrix_from_token_sets(sets, 112, 0)
        dropped += sum(lsh.insert_matrix_and_query_duplicate_flags(matrix, first))
        first += len(sets)
    return {"rows": int(documents) - dropped}


def datatrove_decontaminate(folder: str, documents: str) -> dict[str, float]:
    from datatrove.data import Document
    from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter

    judge = NGramsDecontFilter(folder, NGramsDecontConfig(n_grams=12))
    judge._index_hashes = dict.fromkeys(range(130000), "items")
    texts = texts_of(folder, documents)
    judge.filter(Document(text=texts[0], id="0"))
    start = time.process_time()
    for text in texts:
        judge.filter(Document(text=text, id="0"))
    return {"per_second": len(texts) / (time.process_time() - start)}
