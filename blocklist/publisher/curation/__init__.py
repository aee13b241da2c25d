"""A version on its way: staged, reviewed, approved, released; each step by whoever may."""
