"""What Nexus does for its callers, one verb a file; each is an object that is called.

A use case checks who is asking, changes the records in one transaction, and hands work that takes
time to the engine. What a caller may not see does not exist for it: the error is `NotFound`.
"""
