"""What a record is and how it rests: schemas, parts, sources, tokens, packing, shards."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds data/, flows/ and the rest: paths of shipped files start here."""
