"""Random operations, kills and faults on a real LXD, and a verdict from outside; `make chaos`, docs/chaos.md."""
