"""Benchmarks: each prints a table, writes JSON and a plot into docs/benchmarks, and compares two things in one run."""
