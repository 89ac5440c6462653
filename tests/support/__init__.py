"""Helpers that tests import: `from support.source import files`."""
