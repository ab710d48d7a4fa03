""".ds files for datatrove and nanotron: the stream of ids, and each document's end."""

from pathlib import Path

import numpy as np

from data.export import Source


def export(source: Source, folder: Path) -> None:
    """A folder a split; `.ds.loss`, a byte a token, only where the loss is masked."""
    tokenizer = source.manifest["tokenizer"]["name"]
    for split in source.splits:
        path = folder / split / "tokens.ds"
        path.parent.mkdir()
        total = 0
        with open(path, "wb") as tokens, open(f"{path}.index", "wb") as index:
            for block in source.documents(split):
                tokens.write(block.ids.data)
                index.write((total + np.cumsum(block.lengths)).astype(np.uint64).data)
                total += len(block.ids)
                if block.trained is not None:
                    with open(f"{path}.loss", "ab") as loss:
                        loss.write(block.trained.data)
        about = f"{tokenizer}|{source.id_type.itemsize}\n{total}\n{total / 1e9:.2f}B\n"
        Path(f"{path}.metadata").write_text(about)
