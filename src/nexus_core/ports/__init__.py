"""What the core needs from outside, one abstract class a file; adapters implement these."""
