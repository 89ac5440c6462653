"""Experiments: one per claim of the catalogue, each judged by a measurement of the record.

`frame` is how one is written, `bench` what it works with, `run` how it is run; the
experiments stand in one module per subject beside them. `index` lists them all
without importing any.
"""
