"""The HTTP API in front of the storage: it reads, scopes and copies, and holds no signing key.

    serve        checks, then becomes gunicorn with `gunicorn_conf` and `wsgi`
    app          puts the routes together: `lists`, `bucket`, `health`
    reader       the verified head, seen anew within a second (`live` is one state of it)
    updates      one update document: metadata, and by `ways` the objects from N to M
    tokens       who asks, and what may they read
    problems     every error as application/problem+json (RFC 9457)

Nothing here is trusted by a subscriber (docs/spec.md, "Duties").
"""
