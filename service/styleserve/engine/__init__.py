"""The engine: choose, evaluate, advance; it knows optimizers and evaluators by their protocols, never a network."""
