"""gRPC: the contract's services over `jobs` and `catalog`; nobody else knows of messages, statuses and streams."""
