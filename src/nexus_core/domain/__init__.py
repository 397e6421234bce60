"""Values and rules: immutable, free of I/O, and the same whatever Nexus runs on."""
