"""Verbs that the pages speak of and that do not exist yet, each with the page that will tell of it.

A line goes when its verb comes: `test_nothing_is_awaited_that_is_there` says so.
"""

from __future__ import annotations

AWAITED = {
    "completion": "scripting.md",
    "export": "export.md",
    "import": "hub.md",
    "push": "hub.md",
    "web": "web.md",
}
