"""What make runs; no notebook imports it."""
