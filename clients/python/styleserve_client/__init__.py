"""Clients of a StyleServe server: one for threads, one for asyncio."""
