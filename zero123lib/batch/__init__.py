"""Work on thousands of files, on one machine or on many: items, a store, a manifest, and Ray.

What is done to an item is given to it: the command line gives its verbs. An item's seed is of its
name alone, its files are there whole or not at all, and the manifest says what became of it, so
that the same call goes on where an earlier one ended.
"""
