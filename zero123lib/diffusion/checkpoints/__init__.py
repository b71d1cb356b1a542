"""Checkpoints of the Zero123 family: found, read safely into one form, and written.

One reader per layout, one result: :func:`.loading.read_checkpoint` returns a
:class:`.canonical.Checkpoint`, whatever it was read from.
"""
