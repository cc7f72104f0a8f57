"""`styleserve load`: what is asked of a server, how often, and what came of it."""
