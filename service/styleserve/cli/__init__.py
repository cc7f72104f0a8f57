"""The command line: `styleserve serve`, `stylize`, `styles`, `jobs`, `info` and `load`."""
