"""Engines: the servers that answer prompts, the pool that asks them, the record that keeps."""
