"""Sizes and times of the API, in one place (docs/spec.md, "Limits")."""

from datetime import timedelta

HEAD_CHECK = timedelta(seconds=0.5)  # at most one look at timestamp.json in this time
TOKEN_LIFE = timedelta(seconds=30)  # how long an answer about a token is remembered

MAX_QUERY_BYTES = 1_024
MAX_TOKEN_CHARS = 512
MAX_TOKENS_KNOWN = 8_192  # remembered tokens that are good
MAX_TOKENS_UNKNOWN = 8_192  # remembered tokens that are not
MAX_ENROLMENT_BYTES = 65_536

MAX_UPDATE_BYTES = 32 << 20  # objects and hop roles in one update; the rest is fetched singly
MAX_OBJECT_BYTES = 1 << 30  # served by /v1/targets and /snapshot

OBJECT_CACHE_BYTES = 64 << 20  # objects and role files, whole process
BODY_CACHE_BYTES = 32 << 20  # finished update documents, whole process
CACHE_SHARE = 4  # nothing larger than 1/4 of a cache is kept in it

GZIP_MIN_BYTES = 1_024  # below it compressing costs more than it saves
GZIP_LEVEL = 6  # base64 of incompressible data: 0.76 of its size, at the cost of level 1
