"""The command line: `styleserve serve`, `stylize`, `styles`, `jobs` and `info`."""
