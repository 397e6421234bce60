"""What goes over the wire: Structs that are the requests and answers, exact to the last field.

Answers hold every field always; one that has no value yet is null. Times are UTC in whole seconds.
"""
