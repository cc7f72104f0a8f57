"""Fuzzing: the service's readers of bytes meet bytes that nobody meant, and are held to what they may say."""
