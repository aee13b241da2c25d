"""Trust: TUF roles, keys, preflight, commit, and the verifying client.

Knows nothing of URLs, deltas or HTTP. It signs and verifies names, lengths and digests, in the
classic TUF envelope (specification 1.0.31), on top of `tuf.api` and `tuf.ngclient`.
"""
