"""Public tools that draw the same lines, each in a virtual environment and a process of its own."""
