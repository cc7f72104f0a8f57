"""Trains the light network, a small one that sees as VGG19 does: `python -m training.train --help`.

It stands apart from the service, which knows no more of it than the file that `training.export` writes.
"""
