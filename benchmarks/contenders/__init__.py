"""What is compared: each function is a contender, run in a process of its own; it imports only what it needs."""
