"""What becomes of old things: collected, mirrored, restored."""
