"""Answers from a model: the decode loop, sampling, stops, adapters per row.

`request`, `text` and `precision` need no torch; `decode`, `sampling`, `cache` and `adapters` do.
"""
