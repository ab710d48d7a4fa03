"""train.bin and val.bin for nanoGPT: ids as one uint16 stream, each document with its end."""

from pathlib import Path

from data.errors import RecipeError
from data.export import Source

FILES = {"train": "train.bin", "validation": "val.bin"}


def export(source: Source, folder: Path) -> None:
    if source.vocabulary > 0x10000:
        raise RecipeError(
            f"nanoGPT reads 16-bit ids and the vocabulary has {source.vocabulary:,}",
            fix="export to megatron or datatrove, which have wider ones",
        )
    for split in source.splits:
        with open(folder / FILES[split], "wb") as file:
            for block in source.documents(split):
                file.write(block.ids.data)
