"""Use cases that join the rooms: load, compute, store, return a document.

In: a `Context` (settings, clock, upstream, progress) and what is asked for. Out: documents, the types in
`reports.py`, the same for the terminal, for files and for HTTP. It never prints and never reads the environment.
"""
