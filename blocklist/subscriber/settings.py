"""Limits of the subscriber, in one place (docs/spec.md, "Limits"). Metadata: `signing.policy`."""

from datetime import timedelta

MAX_UPDATE_BYTES = 2**26  # an update document, decompressed; our API puts 32 MiB of objects in one
SURPLUS_BYTES = 2**20  # an object in a directory this much too long is tampered, not unreadable
LADDER_FLOOR_BYTES = 2**20  # a ladder, and a list on its way, may be so large; else twice the list

MAX_ENROLMENT_BYTES = 2**22
MAX_HASH_KEYS_BYTES = 2**20  # what our API knows of an enrolment: lists and their hash keys
MAX_STATE_FILE_BYTES = 2**20  # installed.json, outcome.json
MAX_EXCEPTIONS_BYTES = 2**20  # exceptions.json, and hold.json

MAX_EXCEPTION_TIME = timedelta(days=366)  # they are to be looked at again
MAX_HOLD_TIME = timedelta(days=31)
MAX_REASON_CHARS = 1_024

WARNING_AGE = timedelta(hours=1)  # of the last pull that succeeded
CRITICAL_AGE = timedelta(hours=6)
EXPIRY_WARNING = timedelta(hours=6)  # before metadata expires

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 30.0  # between two bytes
METADATA_SECONDS = 120.0  # one metadata file, start to end
HASH_KEYS_SECONDS = 30.0  # one request, start to end
SOURCE_SECONDS = 900.0  # everything one feed asks of one source
MAX_REDIRECTS = 3

MAX_RETRY_AFTER_SECONDS = 3_600.0  # a source that asks for longer is asked again after this
DEFAULT_WAIT_SECONDS = 60.0  # 429 without `Retry-After`
WAIT_SECONDS = 15.0  # the longest wait that is waited out; our API asks for 5 to 60
MIN_WAIT_SECONDS = 1.0  # also when a source asks for less
MAX_WAITS = 3  # that many times for each feed and source

LONG_POLL_SECONDS = 25.0  # below READ_TIMEOUT_SECONDS: nothing is sent while a source waits
NEWS_SECONDS = 5.0  # between two pulls that the same source asks for
SPREAD_SECONDS = 2.0  # after news, so that not all subscribers come at once
FIRST_BACK_OFF_SECONDS = 5.0  # after a failure; doubled each time, up to the interval
TICK_SECONDS = 2.0  # how often `watch` looks at exceptions, holds and what others install
ROUND_SECONDS = 3_600.0  # a pull and all exports; then the service manager takes it for stuck
STOP_SECONDS = 20.0  # for a round that runs when `watch` is to stop

LOCK_WAIT_SECONDS = 60.0
MAX_CLEAN_HOSTS = 2**17  # that a matcher remembers, with what stands before them: 170 bytes each
FOLLOW_SECONDS = 1.0  # how often a matcher looks for a newer version
COMPLAIN_SECONDS = 60.0  # how often a helper repeats itself
CLOCK_SLACK = timedelta(minutes=10)  # a release this far in the future: our clock is behind
