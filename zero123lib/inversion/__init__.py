"""Cameras from images, by asking a Zero123-family model which camera explains what is seen.

:func:`zero123lib.inversion.poses.estimate_poses` finds how photos of one object lie to each other,
:func:`zero123lib.inversion.elevation.estimate_elevation` how high the camera of one photo stood.
"""
