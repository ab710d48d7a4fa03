""".bin and .idx for Megatron-LM: unpacked documents, which Megatron packs itself."""

import struct
from pathlib import Path

import numpy as np

from data.export import Source

CODES = {"uint16": 8, "int32": 4}


def export(source: Source, folder: Path) -> None:
    """A pair of files a split; `--data-path` takes their path without the ending."""
    for split in source.splits:
        counts = []
        with open(folder / f"{split}.bin", "wb") as file:
            for block in source.documents(split):
                file.write(block.ids.data)
                counts.append(block.lengths.astype(np.int32))
        lengths = np.concatenate(counts)
        width = source.id_type.itemsize
        ends = np.cumsum(lengths, dtype=np.int64) * width
        with open(folder / f"{split}.idx", "wb") as file:
            file.write(b"MMIDIDX\x00\x00")
            code, documents = CODES[source.id_type.name], len(lengths)
            file.write(struct.pack("<QBQQ", 1, code, documents, documents + 1))
            file.write(lengths.data)
            file.write((ends - lengths.astype(np.int64) * width).data)
            file.write(np.arange(documents + 1, dtype=np.int64).data)
