"""The publisher: makes lists and releases, keeps records, proves the storage sound."""
