"""Checkpoints of the Zero123 family: found, read safely into one form, and written.

One reader per layout, one result:
:func:`~zero123lib.diffusion.checkpoints.loading.read_checkpoint` returns a
:class:`~zero123lib.diffusion.checkpoints.canonical.Checkpoint`, whatever it was read from.
"""
