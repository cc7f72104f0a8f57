"""The built-in style pack: each `<style>.yaml` with its image beside it."""
