"""Sizes and times of the API, in one place (docs/spec.md, "Limits")."""

from datetime import timedelta

HEAD_CHECK = timedelta(seconds=0.5)  # without a watcher: at most one look at the head in this time
ROOT_CHECK = timedelta(seconds=10)  # how often a root above ours is looked for
TOKEN_LIFE = timedelta(seconds=30)  # how long an answer about a token is used without looking again
TOKEN_REFRESH_SECONDS = 15.0  # how often the tokens in use are looked at in one listing
CLOCKS_APART = timedelta(minutes=20)  # ours and the storage's; S3 refuses more than 15 minutes

WATCH_SECONDS = 0.3  # between two looks of the watcher
LEASE_SECONDS = 1.0  # how long the process that watches the head stays it without a sign of life
FOLLOWER_LOOK_SECONDS = 30.0  # a follower looks for itself so often, whatever Redis says

MAX_WAIT_SECONDS = 55  # under the 60 s after which proxies give up
MAX_WAITING = 5_500  # waiting polls in one process; one more is answered at once
MAX_PREFER_CHARS = 1_024

MAX_QUERY_BYTES = 1_024
MAX_TOKEN_CHARS = 512
MAX_TOKENS_KNOWN = 8_192  # remembered tokens that are good
MAX_TOKENS_UNKNOWN = 8_192  # remembered tokens that are not
MAX_ENROLMENT_BYTES = 65_536

MAX_UPDATE_BYTES = 32 << 20  # objects and hop roles in one update; the rest is fetched singly
MAX_OBJECT_BYTES = 1 << 30  # served by /v1/targets and /snapshot

OBJECT_CACHE_BYTES = 64 << 20  # objects and role files, whole process
CACHE_SHARE = 4  # nothing larger than 1/4 of a cache is kept in it
BODY_CACHE_BYTES = 96 << 20  # finished update documents, whole process
BODY_CACHE_SHARE = 2  # the largest document, MAX_UPDATE_BYTES in base64, is less than 1/2 of it

LARGE_BYTES = 1 << 20  # above it a body is shared and counted, and worked on away from the loop
IN_FLIGHT_BYTES = 256 << 20  # different large bodies being sent, whole process
LARGE_WAIT_SECONDS = 20.0  # for a slot to read a large object or to make a large document in

GZIP_MIN_BYTES = 1_024  # below it compressing costs more than it saves
GZIP_LEVEL = 6  # base64 of incompressible data: 0.76 of its size, at the cost of level 1
PIECE_BYTES = 65_536  # a body is sent in such pieces, each with its own deadline
