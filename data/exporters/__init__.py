"""One format a file: `export(source, folder)` writes it. See data/export.py."""
