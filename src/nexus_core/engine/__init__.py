"""Runs operations: takes them up, carries out their steps, records each, and keeps to the truth."""
