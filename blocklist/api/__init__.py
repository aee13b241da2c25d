"""The HTTP API in front of the storage: it reads, scopes and copies, and holds no signing key.

    serve        checks, then becomes gunicorn with `gunicorn_conf`, `worker` and `wsgi`
    app          puts the routes together; `start` and `stop` of the work in the background
    lists        what there is, one update document, waiting for news
    bucket `diffing` `board` enrolment openapi health metrics                       the other routes
    services     what routes share: who asks, what is on offer, is there news
    reader       the verified head (`live` is one state of it); `watch` keeps it fresh
    updates      one update document: metadata, and by `ways` the objects from N to M
    tokens       who asks, and what may they read; `limiter`: how often
    problems     every error as application/problem+json (RFC 9457)

Nothing here is trusted by a subscriber (docs/spec.md, "Duties").
"""
