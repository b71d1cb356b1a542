"""Radiance fields: volume rendering over callables, a voxel field, and fitting it to views."""
