"""Answers from a model: the decode loop, sampling, stops, adapters per row.

`request` and `text` need no torch; `decode`, `sampling`, `cache`, `adapters` and `load` do. Import from the
modules.
"""
