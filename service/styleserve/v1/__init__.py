"""Generated from `protos/styleserve/v1` by `make protos`; never edited."""
