"""What goes on in a server, told to whoever observes it: metrics, traces, or nobody, unless asked."""
