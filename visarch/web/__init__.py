"""The page of `visarch web`: trained runs in a browser, on this machine and nowhere else.

Nothing is computed here that the verbs do not compute: a tab asks `visarch.inference`.
"""
