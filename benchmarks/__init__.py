"""Benchmarks: each prints a table, writes JSON and a plot into docs/benchmarks, and compares two things in one run.

They run in the environment of the service, which has to be set before anything is imported that reads it.
"""

from styleserve.__main__ import set_environment

set_environment()
