"""What is trained: one shape for what any library fitted, and a module per library."""
