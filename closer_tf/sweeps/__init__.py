"""Sweeps: many trainings from one file, on the machine's own processes or on a cluster.

`config` is the sweep file, `points` what it asks for and how far that is, `training` one training in a process of its own,
`worker` what a Dask worker does, `cluster` where the workers come from, `engine` the whole, `report` what a person sees.
"""
