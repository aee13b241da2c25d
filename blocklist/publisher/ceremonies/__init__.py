"""Changes of keys by several people: proposed, examined, signed, enacted."""
