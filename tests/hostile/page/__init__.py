"""The page of `visarch web` under load: visitors, what they do to it, and how it is watched."""
