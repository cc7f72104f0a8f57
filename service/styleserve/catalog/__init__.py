"""The catalogue: YAML files with their images, from packs and folders, as validated and frozen styles."""
